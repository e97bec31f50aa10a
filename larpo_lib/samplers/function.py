"""A user's own function or class as a sampler."""

from pathlib import Path
from typing import ClassVar, Literal

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.kinds import SamplerConfig
from larpo_lib.functions import FunctionTarget
from larpo_lib.samplers.base import Sampler, SamplingLimits

GIVEN = ("requests", "policy", "limits")
"""The keywords that a function can take; a class is made with the last two, and called with the first."""


class FunctionSamplerConfig(FunctionTarget, SamplerConfig):
    """A Python function or class of your own.

    A function is called with keywords, those that it takes: `requests` (`larpo_lib.samplers.Request`: messages,
    temperature, seed), `policy` (the directory of the policy), `limits` (`larpo_lib.samplers.SamplingLimits`) and its
    settings. A class is made once with the policy, the limits and its settings, and then called with `requests`. Either
    gives a text or a `larpo_lib.samplers.Response` for each request.
    """

    does: ClassVar[str] = "what a Python function of yours says"
    when: ClassVar[str] = "you have an engine of your own"

    first: ClassVar[tuple[str, ...]] = ("type",)

    type: Literal["function"] = "function"
    model: ModelConfig = ModelConfig()
    """How the policy's tokenizer is loaded, which is used to count the tokens of prompts."""

    def make(self, policy: Path, limits: SamplingLimits) -> Sampler:
        """Load the function, or make an object of the class."""
        from larpo_lib.samplers.engines.function import FunctionSampler

        return FunctionSampler(self, *self.called_with(GIVEN), policy, limits)

    def check(self, policy: Path, limits: SamplingLimits) -> None:
        """That it can be loaded and called, and that prompts and responses fit into the policy's context."""
        from larpo_lib.models.model_dir import ModelDir
        from larpo_lib.samplers.engines.policy import check_limits

        self.called_with(GIVEN)
        check_limits(ModelDir(policy, self.model), limits)
