"""What the settings of all benchmarks share: how answers are made, and the LLM that judges them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveInt

from larpo_lib.config.endpoint import EndpointConfig
from larpo_lib.config.mixins import Sampling


class AnswersConfig(Sampling):
    """How a policy answers the questions of a benchmark: one response each."""

    first: ClassVar[tuple[str, ...]] = ("sampler", "temperature")

    temperature: NonNegativeFloat = 0.0
    """0 answers greedily."""
    max_prompt_tokens: PositiveInt = 4096
    """Longer prompts get no answer and are counted."""


class LlmJudgeConfig(EndpointConfig):
    """A language model behind an OpenAI-compatible server that judges responses."""

    execution: ClassVar[frozenset[str]] = frozenset({"max_calls"})

    model: str
    """The name the server knows it by."""
    max_calls: PositiveInt | None = None
    """Most decisions to buy; where more are needed nothing is bought and the number is told."""
