"""On a GPU, both sides of the benchmark of sampling may differ in what rounding decides, and in nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.models import SIZES
from benchmarks.sampling import NEAR, NEW_TOKENS, lost_by, make_requests, write_endless_policy
from larpo_lib.config import ModelConfig
from larpo_lib.samplers import SamplingLimits, make_sampler
from larpo_lib.samplers.hf import HfSamplerConfig

SIZE = SIZES["tiny"]
REQUESTS = make_requests(SIZE.vocabulary, "short", 1, 0.0, seed=99)[:4]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("policy")
    write_endless_policy(directory, SIZE, "cpu")
    return directory


def greedy(policy: Path, attention: Literal["sdpa", "eager"]) -> Sequence[Sequence[int]]:
    config = HfSamplerConfig(model=ModelConfig(device="cpu", dtype="bfloat16", attention=attention))
    sampler = make_sampler(config, policy, SamplingLimits(64, NEW_TOKENS, 1.0))
    return [response.token_ids or [] for response in sampler.sample(REQUESTS)]


def test_what_rounding_decides_is_near_and_another_prompts_response_is_not(policy: Path) -> None:
    """The same policy with two ways of attention, in bfloat16; and each with the response to the next prompt."""
    one, other = greedy(policy, "sdpa"), greedy(policy, "eager")
    turned = [*one[1:], one[0]]
    assert max(lost_by(policy, "cpu", *each) for each in zip(REQUESTS, one, other, strict=True)) < NEAR
    assert max(lost_by(policy, "cpu", *each) for each in zip(REQUESTS, one, turned, strict=True)) > NEAR


def test_the_first_different_token_is_compared_with_the_likeliest_one(policy: Path) -> None:
    """Of [x, y, ..] and [x, z, ..] the worse of y and z, behind the prompt and x."""
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.bfloat16)
    prompt = [int(word.removeprefix("w")) for word in REQUESTS[0].messages[0]["content"].split()]
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, 5]])).logits[0, -1].float()
    expected = float(logits.max() - torch.minimum(logits[6], logits[7]))
    assert lost_by(policy, "cpu", REQUESTS[0], [5, 6, 8], [5, 7, 9]) == pytest.approx(expected, abs=1e-5)
    assert lost_by(policy, "cpu", REQUESTS[0], [5, 6], [5, 6]) == 0.0
