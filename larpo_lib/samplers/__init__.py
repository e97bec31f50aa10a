"""The retriever's side of the loop: samplers draw responses from a policy."""

from __future__ import annotations

from pathlib import Path

from larpo_lib.config import SamplerConfig
from larpo_lib.samplers.base import Request, Response, Sampler, stream_seed


def make_sampler(config: SamplerConfig, policy: Path, *, top_p: float, max_new_tokens: int) -> Sampler:
    """The sampler that `config.type` names."""
    from larpo_lib.samplers.hf import HfSampler

    return HfSampler(config, policy, top_p=top_p, max_new_tokens=max_new_tokens)


__all__ = ["Request", "Response", "Sampler", "make_sampler", "stream_seed"]
