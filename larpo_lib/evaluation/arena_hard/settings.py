"""Settings of the benchmark Arena-Hard v2.0."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from larpo_lib.config.benchmarks import AnswersConfig, LlmJudgeConfig
from larpo_lib.config.mixins import Bootstrap


class ArenaHardAnswersConfig(AnswersConfig):
    """How the policy answers: one response each."""

    max_new_tokens: PositiveInt = 8192
    """Maximum tokens of an answer, including the end-of-turn token."""
    max_prompt_tokens: PositiveInt = 8192
    """Maximum tokens of a prompt. Longer prompts get no answer and are counted."""


class ArenaHardConfig(Bootstrap):
    """Arena-Hard v2.0: a judge compares the policy's answer to each prompt with the baseline's, in both orders."""

    answers: ArenaHardAnswersConfig = Field(default_factory=ArenaHardAnswersConfig)
    """How the policy answers."""
    judge: LlmJudgeConfig
    """Any model on an OpenAI-compatible server. The published scores are of gpt-4.1, and of Gemini 2.5 Pro."""
    judge_temperature: NonNegativeFloat | Literal["server"] = 0.0
    """Sampling temperature of the judge; officially 0 for gpt-4.1, 1 for Gemini 2.5. `server`: none is sent, for judges
    that refuse one."""
    judge_max_tokens: PositiveInt | Literal["server"] = 16000
    """Maximum tokens of a judgement; officially 16000 for gpt-4.1, 32000 for Gemini 2.5. `server`: no limit is sent."""
    unparsed: Literal["leave_out", "tie"] = "leave_out"
    """What becomes of a question with a verdict that cannot be read: it is left out (`leave_out`, as officially), or
    that verdict counts as a tie (`tie`), which keeps the questions of two policies the same."""
    partial: bool = False
    """Allow a part of the questions, or other questions. Such a score is not comparable with published ones."""
