"""Sampling by any server with OpenAI's chat completions, such as `vllm serve` or TGI."""

from pathlib import Path
from typing import ClassVar, Literal

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.endpoint import EndpointConfig
from larpo_lib.config.kinds import SamplerConfig
from larpo_lib.samplers.base import Sampler, SamplingLimits


class OpenAiSamplerConfig(SamplerConfig, EndpointConfig):
    """Sampling by any server with OpenAI's chat completions, such as `vllm serve` or TGI."""

    does: ClassVar[str] = "from a server with OpenAI's chat completions API"
    when: ClassVar[str] = "the policy runs on a server, such as `vllm serve` or TGI; only for steps run one by one"
    packages: ClassVar[tuple[str, ...]] = ("httpx2", "tenacity")
    serves_one_policy: ClassVar[bool] = True

    type: Literal["openai"] = "openai"
    served_model: str
    """Name of the policy at the server. The server must serve the same policy that is passed to the step."""
    token_ids: bool = False
    """Request the sampled token ids, which vLLM's server returns. Without them, the text is tokenized again for
    training."""
    model: ModelConfig = ModelConfig()
    """How the policy's tokenizer is loaded, which is used to count the tokens of prompts."""

    def make(self, policy: Path, limits: SamplingLimits) -> Sampler:
        """Ask the server what it serves."""
        from larpo_lib.samplers.engines.openai import OpenAiSampler

        return OpenAiSampler(self, policy, limits)

    def check(self, policy: Path, limits: SamplingLimits) -> None:
        """That the server answers, serves the model, and writes prompts as the policy's own template does; limits."""
        from larpo_lib.models.model_dir import ModelDir
        from larpo_lib.samplers.engines.openai import check_sampling_server, check_served_template
        from larpo_lib.samplers.engines.policy import check_limits

        source = ModelDir(policy, self.model)
        check_limits(source, limits)
        check_sampling_server(self, limits, retries=0)
        check_served_template(source.tokenizer)
