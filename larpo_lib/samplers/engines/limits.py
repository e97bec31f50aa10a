"""Whether a policy's context holds what a step asks for."""

from __future__ import annotations

from larpo_lib.models.model_dir import ModelDir
from larpo_lib.samplers.base import SamplingLimits


def check_limits(policy: ModelDir, limits: SamplingLimits) -> None:
    """Check that the longest prompt and the longest response fit into a policy's context together.

    Raises:
        ConfigError: they do not.
    """
    longest = limits.max_prompt_tokens + limits.max_new_tokens
    said = f"max_prompt_tokens = {limits.max_prompt_tokens} and max_new_tokens = {limits.max_new_tokens}"
    policy.check_context(longest, said)
