"""Sampling by `transformers` generate, in this process."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import PositiveInt

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.kinds import SamplerConfig
from larpo_lib.samplers.base import Sampler, SamplingLimits


class HfSamplerConfig(SamplerConfig):
    """Sampling by `transformers` generate, in this process."""

    does: ClassVar[str] = "with `transformers`, in this process"
    when: ClassVar[str] = "the policy is small, or vLLM is not installed"
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    execution: ClassVar[frozenset[str]] = frozenset({"batch_size"})
    settled: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    type: Literal["hf"] = "hf"
    batch_size: PositiveInt = 64
    """Maximum number of responses generated at the same time."""
    model: ModelConfig = ModelConfig()
    """How the policy is loaded."""

    def make(self, policy: Path, limits: SamplingLimits) -> Sampler:
        """Load the policy."""
        from larpo_lib.samplers.engines.hf import HfSampler

        return HfSampler(self, policy, limits)

    def check(self, policy: Path, limits: SamplingLimits) -> None:
        """That prompts and responses fit into the policy's context."""
        from larpo_lib.models.model_dir import ModelDir
        from larpo_lib.samplers.engines.policy import check_limits

        check_limits(ModelDir(policy, self.model), limits)
