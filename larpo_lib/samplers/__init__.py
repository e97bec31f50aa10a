"""The retriever's side of the loop: samplers draw responses from a policy. A module here holds a sampler's settings."""

from __future__ import annotations

from pathlib import Path

from larpo_lib.config import SamplerConfig
from larpo_lib.samplers.base import Request, Response, Sampler, SamplingLimits, stream_seed
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.samplers.openai import OpenAiSamplerConfig
from larpo_lib.samplers.vllm import VllmSamplerConfig


def make_sampler(config: SamplerConfig, policy: Path, limits: SamplingLimits) -> Sampler:
    """The sampler that `config.type` names."""
    if isinstance(config, HfSamplerConfig):
        from larpo_lib.samplers.engines.hf import HfSampler

        return HfSampler(config, policy, limits)
    if isinstance(config, OpenAiSamplerConfig):
        from larpo_lib.samplers.engines.openai import OpenAiSampler

        return OpenAiSampler(config, policy, limits)
    if isinstance(config, VllmSamplerConfig):
        from larpo_lib.samplers.engines.vllm import VllmSampler

        return VllmSampler(config, policy, limits)
    raise AssertionError(config.type)


__all__ = ["Request", "Response", "Sampler", "SamplingLimits", "make_sampler", "stream_seed"]
