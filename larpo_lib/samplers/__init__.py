"""The retriever's side of the loop: samplers draw responses from a policy. A module here holds a sampler's settings."""

from pathlib import Path

from larpo_lib.config.kinds import SamplerConfig
from larpo_lib.samplers.base import Request, Response, Sampler, SamplingLimits, stream_seed


def make_sampler(config: SamplerConfig, policy: Path, limits: SamplingLimits) -> Sampler:
    """The sampler of some settings."""
    sampler: Sampler = config.make(policy, limits)
    return sampler


__all__ = ["Request", "Response", "Sampler", "SamplingLimits", "make_sampler", "stream_seed"]
