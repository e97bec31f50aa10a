"""Sampling by vLLM's engine on this machine."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import PositiveInt

from larpo_lib.config.base import Fraction, ModelConfig
from larpo_lib.config.kinds import SamplerConfig
from larpo_lib.samplers.base import Sampler, SamplingLimits


class VllmSamplerConfig(SamplerConfig):
    """Sampling by vLLM's engine on this machine."""

    does: ClassVar[str] = "with vLLM's engine, on this machine"
    when: ClassVar[str] = "this machine has a GPU"
    packages: ClassVar[tuple[str, ...]] = ("vllm",)
    execution: ClassVar[frozenset[str]] = frozenset({"tensor_parallel", "gpu_memory", "max_num_seqs", "enforce_eager"})

    type: Literal["vllm"] = "vllm"
    tensor_parallel: PositiveInt = 1
    """Number of GPUs that share one copy of the policy."""
    gpu_memory: Fraction = 0.9
    """Fraction of the GPU's memory that the engine uses."""
    max_num_seqs: PositiveInt = 256
    """Maximum number of responses generated at the same time."""
    enforce_eager: bool = False
    """Disable compilation and CUDA graphs: starts faster, samples slower."""
    model: ModelConfig = ModelConfig()
    """How the policy is loaded; vLLM chooses `device` and `attention` itself."""

    def make(self, policy: Path, limits: SamplingLimits) -> Sampler:
        """The engine starts with the first sample."""
        from larpo_lib.samplers.engines.vllm import VllmSampler

        return VllmSampler(self, policy, limits)

    def check(self, policy: Path, limits: SamplingLimits) -> None:
        """That vLLM is installed and can run such a policy."""
        from larpo_lib.models.model_dir import ModelDir
        from larpo_lib.samplers.engines.vllm import check_vllm

        check_vllm(ModelDir(policy, self.model), self, limits)
