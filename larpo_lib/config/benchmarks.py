"""What the settings of all benchmarks share: how answers are made, and the LLM that judges them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveInt

from larpo_lib.config.base import Fraction, Section, Seed
from larpo_lib.config.endpoint import EndpointConfig
from larpo_lib.config.samplers import HfSamplerConfig, SamplerConfig


class AnswersConfig(Section):
    """How a policy answers the questions of a benchmark: one response each."""

    execution: ClassVar[frozenset[str]] = frozenset({"processes"})

    sampler: SamplerConfig = HfSamplerConfig()
    temperature: NonNegativeFloat = 0.0
    """0 answers greedily."""
    top_p: Fraction = 1.0
    max_new_tokens: PositiveInt = 2048
    max_prompt_tokens: PositiveInt = 4096
    """Longer prompts get no answer and are counted."""
    part_prompts: PositiveInt = 256
    """Prompts a partial result holds; a restarted step goes on after the last whole one."""
    processes: PositiveInt = 1
    """Processes on this machine that share the prompts, each with GPUs of its own."""
    seed: Seed = 0


class LlmJudgeConfig(EndpointConfig):
    """A language model behind an OpenAI-compatible server that judges responses."""

    execution: ClassVar[frozenset[str]] = EndpointConfig.execution | {"max_calls"}

    model: str
    """The name the server knows it by."""
    max_calls: PositiveInt | None = None
    """Most decisions to buy; where more are needed nothing is bought and the number is told."""
