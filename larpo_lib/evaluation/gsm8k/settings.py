"""Settings of the benchmark GSM8K."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from larpo_lib.config.benchmarks import AnswersConfig
from larpo_lib.config.mixins import Bootstrap


class Gsm8kAnswersConfig(AnswersConfig):
    """How a policy answers the problems: once greedily, and `gsm8k.n` times at `temperature`."""

    temperature: PositiveFloat = 1.0
    """Of the sampled responses."""
    max_new_tokens: PositiveInt = 1024


class Gsm8kConfig(Bootstrap):
    """GSM8K: school mathematics with a number as the answer."""

    answers: Gsm8kAnswersConfig = Field(default_factory=Gsm8kAnswersConfig)
    """How the policy answers."""
    n: NonNegativeInt = 8
    """Sampled responses a problem, besides the greedy one: N of Pass@N and of the majority vote."""
    template: str = "{question}"
    """The user's message; `{question}` stands for the problem. Scores of other templates are not comparable."""
    examples: str | None = None
    """File of worked examples (question, answer), which stand before each problem as earlier turns; not set: none."""
    shots: PositiveInt = 8
    """How many of them, from the top of the file."""
    answers_of: str | None = None
    """Whose solutions to score of a file that holds those of several models (`--answers`)."""
    limit: PositiveInt | None = None
    """Take the first so many problems only, for a trial; not set: all."""

    @field_validator("template", mode="after")
    @classmethod
    def _asks(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError("must contain {question}, which stands for the problem")
        return template
