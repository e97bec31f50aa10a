"""Settings of the benchmark GSM8K."""

from typing import Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from larpo_lib.config.benchmarks import AnswersConfig
from larpo_lib.config.mixins import Bootstrap


class Gsm8kAnswersConfig(AnswersConfig):
    """How a policy answers the problems: once greedily, and `gsm8k.n` times at `temperature`."""

    temperature: PositiveFloat = 1.0
    """Temperature of the sampled responses."""
    max_new_tokens: PositiveInt = 1024


class Gsm8kConfig(Bootstrap):
    """GSM8K: school mathematics with a number as the answer."""

    answers: Gsm8kAnswersConfig = Field(default_factory=Gsm8kAnswersConfig)
    """How the policy answers."""
    n: NonNegativeInt = 8
    """Number of sampled responses for each problem, in addition to a greedy one: the N of Pass@N and of the majority
    vote."""
    template: str = "{question}"
    """Template of the user message; `{question}` is replaced by the problem. Scores of different templates are not
    comparable."""
    examples: str | None = None
    """File or `s3://` URI with worked examples (question, answer), which are put before each problem as earlier turns.
    Not set: none."""
    shots: PositiveInt = 8
    """Number of worked examples, from the top of the file."""
    answers_of: str | None = None
    """Model whose solutions are scored, if the file passed to `--answers` contains several models."""
    limit: PositiveInt | None = None
    """Use only the first `limit` problems, for a trial. Not set: all."""

    @field_validator("template", mode="after")
    @classmethod
    def _asks(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError("must contain {question}, which is replaced by the problem")
        return template

    def identity(self) -> dict[str, Any]:
        """Without the place of the worked examples: their content is an input of the step."""
        return {**super().identity(), "examples": None}
