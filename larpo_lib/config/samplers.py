"""One config class per sampler; `type` is its name."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from larpo_lib.config.base import Fraction, ModelConfig, Section
from larpo_lib.config.endpoint import EndpointConfig


class HfSamplerConfig(Section):
    """Sampling by `transformers` generate, in this process."""

    type: Literal["hf"] = "hf"
    batch_size: PositiveInt = 64
    """Responses generated at one time."""
    model: ModelConfig = ModelConfig()


class VllmSamplerConfig(Section):
    """Sampling by vLLM's engine on this machine."""

    execution: ClassVar[frozenset[str]] = frozenset({"tensor_parallel", "gpu_memory", "max_num_seqs", "enforce_eager"})

    type: Literal["vllm"] = "vllm"
    tensor_parallel: PositiveInt = 1
    """GPUs that share one copy of the policy."""
    gpu_memory: Fraction = 0.9
    """Share of a GPU's memory that the engine takes."""
    max_num_seqs: PositiveInt = 256
    """Responses generated at one time."""
    enforce_eager: bool = False
    """Leave out compilation and CUDA graphs: starts sooner, samples slower."""
    model: ModelConfig = ModelConfig()
    """Of it `device` and `attention` are vLLM's own choice."""


class OpenAiSamplerConfig(EndpointConfig):
    """Sampling by any server with OpenAI's chat completions, such as `vllm serve` or TGI."""

    type: Literal["openai"] = "openai"
    served_model: str
    """The policy's name at the server. The server must serve the very policy that the step is given."""
    token_ids: bool = False
    """Ask for the sampled token ids, which vLLM's server gives; without them text is tokenized again for training."""
    model: ModelConfig = ModelConfig()
    """How the policy's tokenizer is loaded, which counts the tokens of prompts."""


SamplerConfig = Annotated[HfSamplerConfig | VllmSamplerConfig | OpenAiSamplerConfig, Field(discriminator="type")]
