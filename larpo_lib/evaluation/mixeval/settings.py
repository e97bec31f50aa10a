"""Settings of the benchmark MixEval."""

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from larpo_lib.config.benchmarks import AnswersConfig, LlmJudgeConfig
from larpo_lib.config.mixins import Seeded


class MixEvalAnswersConfig(AnswersConfig):
    """How a policy answers MixEval's questions: one response each."""

    last: ClassVar[tuple[str, ...]] = ("system_message",)

    max_new_tokens: PositiveInt = 512
    """Maximum tokens of an answer; the official value."""
    system_message: str | None = None
    """System prompt before every question. Officially none for local models, "You are a helpful assistant." for some
    others."""


class MixEvalConfig(Seeded):
    """MixEval and MixEval-Hard: free-form and multiple-choice questions with known answers."""

    younger: ClassVar[tuple[str, ...]] = ("judge_max_tokens",)

    benchmark: Literal["mixeval", "mixeval-hard"] = "mixeval"
    """Which of the two benchmarks the files contain. Known files of the other one are refused."""
    version: Literal["2024-06-01", "2024-08-11"] = "2024-06-01"
    """Published version of the files; the paper uses 2024-06-01."""
    answers: MixEvalAnswersConfig = Field(default_factory=MixEvalAnswersConfig)
    """How the policy answers."""
    judge: LlmJudgeConfig
    """Any model on an OpenAI-compatible server. The published scores are of gpt-3.5-turbo-0125, which is shut down."""
    judge_temperature: NonNegativeFloat | None = None
    """Sampling temperature of the judge. Not set: the default of the judge's server, as officially."""
    judge_max_tokens: PositiveInt | Literal["server"] = 999
    """Maximum tokens of a judgement; the official value. Give a judge that thinks before it replies more. `server`: no
    limit is sent."""
    multiple_choice: Literal["judge", "rule"] = "judge"
    """How the chosen option is read from a response: by the judge, or by the official patterns, which need no judge."""
    attempts: PositiveInt = 10
    """Maximum number of attempts to get a readable judgement; the official value."""
    unparsed: Literal["wrong", "leave_out", "official", "fail"] = "wrong"
    """What to do if no judgement of a question can be read: score it 0 (`wrong`), exclude the question (`leave_out`),
    use a random score or option drawn with `seed` (`official`), or stop with an error (`fail`)."""
    limit: PositiveInt | None = None
    """Use only the first `limit` questions of each file, for a trial. Not set: all."""
