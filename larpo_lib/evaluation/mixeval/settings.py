"""Settings of the benchmark MixEval."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from larpo_lib.config.benchmarks import AnswersConfig, LlmJudgeConfig
from larpo_lib.config.mixins import Seeded


class MixEvalAnswersConfig(AnswersConfig):
    """How a policy answers MixEval's questions: one response each."""

    last: ClassVar[tuple[str, ...]] = ("system_message",)

    max_new_tokens: PositiveInt = 512
    """As officially."""
    system_message: str | None = None
    """Put before every question. Officially none for a local model, "You are a helpful assistant." for some others."""


class MixEvalConfig(Seeded):
    """MixEval and MixEval-Hard: free-form and multiple-choice questions with known answers."""

    benchmark: Literal["mixeval", "mixeval-hard"] = "mixeval"
    """Which of the two the files hold; a known file of the other one is refused."""
    version: Literal["2024-06-01", "2024-08-11"] = "2024-06-01"
    """Which published version the files hold; the paper's is 2024-06-01."""
    answers: MixEvalAnswersConfig = Field(default_factory=MixEvalAnswersConfig)
    """How the policy answers."""
    judge: LlmJudgeConfig
    """The published scores are of gpt-3.5-turbo-0125."""
    judge_temperature: NonNegativeFloat | None = None
    """Not set: whatever the judge's server takes by itself, as officially."""
    multiple_choice: Literal["judge", "rule"] = "judge"
    """Who reads the chosen option out of a response: the judge, or the official patterns, which cost nothing."""
    attempts: PositiveInt = 10
    """How often a judgement is asked for until one can be read; as officially."""
    unparsed: Literal["wrong", "leave_out", "official", "fail"] = "wrong"
    """What a question scores where no judgement can be read: nothing (`wrong`), it is not counted (`leave_out`), a
    random score or option by `seed` (`official`), or the step ends with an error (`fail`)."""
    limit: PositiveInt | None = None
    """Take the first so many questions of each file only, for a trial; not set: all."""
