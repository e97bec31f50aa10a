"""Tests that need vLLM: they run in .venv-vllm, by `make test-vllm`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_models import FAMILIES, write_model

from larpo_lib.config import ModelConfig
from larpo_lib.samplers import SamplingLimits
from larpo_lib.samplers.engines.vllm import VllmSampler
from larpo_lib.samplers.vllm import VllmSamplerConfig

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # starts in 2 seconds, not in 20; one test has a process
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}

MakeSampler = Callable[..., VllmSampler]


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a family's model with random weights; not to be written to."""
    root = tmp_path_factory.mktemp("engine-models")
    for family in FAMILIES:
        write_model(root / family, family)
    return lambda family: root / family


@pytest.fixture
def make_vllm(model_directory: Callable[[str], Path]) -> Iterator[MakeSampler]:
    """Makes samplers that are closed after the test."""
    made = []

    def make(family: str = "llama", *, prompt: int = 64, longest: int = 24, top_p: float = 1.0, **settings: Any):
        config = VllmSamplerConfig(enforce_eager=True, model=ModelConfig(device="cpu"), **settings)
        made.append(VllmSampler(config, model_directory(family), SamplingLimits(prompt, longest, top_p)))
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()
