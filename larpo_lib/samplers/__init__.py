"""The retriever's side of the loop: samplers draw responses from a policy."""

from __future__ import annotations

from pathlib import Path

from larpo_lib.config import HfSamplerConfig, OpenAiSamplerConfig, SamplerConfig, VllmSamplerConfig
from larpo_lib.samplers.base import Request, Response, Sampler, SamplingLimits, stream_seed


def make_sampler(config: SamplerConfig, policy: Path, limits: SamplingLimits) -> Sampler:
    """The sampler that `config.type` names."""
    if isinstance(config, HfSamplerConfig):
        from larpo_lib.samplers.hf import HfSampler

        return HfSampler(config, policy, limits)
    if isinstance(config, OpenAiSamplerConfig):
        from larpo_lib.samplers.openai import OpenAiSampler

        return OpenAiSampler(config, policy, limits)
    if isinstance(config, VllmSamplerConfig):
        from larpo_lib.samplers.vllm import VllmSampler

        return VllmSampler(config, policy, limits)
    raise AssertionError(config.type)


__all__ = ["Limits", "Request", "Response", "Sampler", "make_sampler", "stream_seed"]
