"""What the settings of all benchmarks share: how answers are made, and the LLM that judges them."""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveInt

from larpo_lib.config.endpoint import EndpointConfig
from larpo_lib.config.mixins import Sampling

PairProtocol = Literal["weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_gpt4_turbo_fn", "alpaca_eval_llama3_70b_fn"]
"""Official annotators of AlpacaEval, as which a judge can be asked about two answers."""


class AnswersConfig(Sampling):
    """How a policy answers the questions of a benchmark: one response each."""

    first: ClassVar[tuple[str, ...]] = ("sampler", "temperature")

    temperature: NonNegativeFloat = 0.0
    """Sampling temperature. 0: greedy answers."""
    max_prompt_tokens: PositiveInt = 4096
    """Maximum tokens of a prompt. Longer prompts get no answer and are counted."""


class LlmJudgeConfig(EndpointConfig):
    """A language model on an OpenAI-compatible server that judges responses."""

    execution: ClassVar[frozenset[str]] = frozenset({"max_calls"})

    model: str
    """Name of the model at the server."""
    max_calls: PositiveInt | None = None
    """Maximum number of judge calls. If more are needed, none is made and the error names the number."""
