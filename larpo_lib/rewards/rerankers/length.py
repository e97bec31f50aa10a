"""The length of a response as a reward."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from larpo_lib.config.base import ModelConfig, NamesModel
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import RuleRerankerConfig
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.rewards.rerankers._rules import RuleReranker, Verdict


class LengthConfig(RuleRerankerConfig):
    """1 if a response is as long as it may be, and less the further it is from that.

    Below `shortest` the score is length / shortest, above `longest` it is longest / length.
    """

    does: ClassVar[str] = "the length, against a range"
    when: ClassVar[str] = "responses must be neither too short nor too long"

    type: Literal["length"] = "length"
    unit: Literal["words", "characters", "tokens"] = "words"
    """What is counted. A word is a run of letters, digits and underscores, as in IFEval."""
    shortest: NonNegativeInt = 0
    """The shortest length that scores 1."""
    longest: PositiveInt | None = None
    """The longest length that scores 1. Not set: there is no limit."""
    score: Literal["graded", "exact"] = "graded"
    """`graded`: as above. `exact`: 0 outside the range."""
    tokenizer: Annotated[str | None, NamesModel()] = None
    """The model whose tokens are counted: a directory, an s3:// URI, or its name on the Hugging Face hub."""
    model: Annotated[ModelConfig, Inherited("model.date", into="date")] = ModelConfig()
    """How its tokenizer is loaded."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.shortest == 0 and self.longest is None:
            raise ValueError("set shortest, longest or both")
        if self.longest is not None and self.longest < self.shortest:
            raise ValueError("longest must be at least shortest")
        if (self.unit == "tokens") != (self.tokenizer is not None):
            raise ValueError("set tokenizer if tokens are counted, and only then")
        return self

    def models(self) -> dict[str, Path]:
        """The model with the tokenizer."""
        from larpo_lib.models.hub import local_model

        return {} if self.tokenizer is None else {"reranker": local_model(self.tokenizer)}

    def identity(self) -> dict[str, Any]:
        """The place of the tokenizer is no part of it: its content is."""
        found = super().identity()
        return found if self.tokenizer is None else {**found, "tokenizer": Path(self.tokenizer).name}

    def counter(self) -> Callable[[str], int]:
        """What measures a text."""
        if self.tokenizer is None:
            return len if self.unit == "characters" else _words
        from larpo_lib.models.hub import local_model
        from larpo_lib.models.model_dir import ModelDir

        tokenizer = ModelDir(local_model(self.tokenizer), self.model).bare_tokenizer
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def make(self) -> Reranker:
        """Load the tokenizer, if one is needed."""
        return LengthReranker(self)

    def check(self) -> None:
        """That the tokenizer can be read."""
        self.counter()


class LengthReranker(RuleReranker[LengthConfig]):
    """Scores a response by its length."""

    def __init__(self, config: LengthConfig) -> None:
        super().__init__(config)
        self._count = config.counter()

    def verdict(self, item: Scorable) -> Verdict:
        """1 inside the range."""
        length, longest = self._count(item.response), self._config.longest
        if length < self._config.shortest:
            share = length / self._config.shortest
        elif longest is not None and length > longest:
            share = longest / length
        else:
            return Verdict(1.0)
        return Verdict(share if self._config.score == "graded" else 0.0)


def _words(text: str) -> int:
    return len(re.findall(r"\w+", text))
