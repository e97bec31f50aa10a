"""A user's own function as a reranker."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

from larpo_lib.config.kinds import SingleRerankerConfig, Thinking
from larpo_lib.errors import ConfigError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.functions import FunctionSettings, RewardFunction
from larpo_lib.rewards.rerankers import Reranker


class FunctionRerankerConfig(FunctionSettings, SingleRerankerConfig):
    """Scores responses by a Python function of your own, plain or async.

    It is called with keywords, those that it takes: `prompts` (lists of messages), `responses` (texts), `completions`
    (the same as lists with one message), `references` (texts or None), the columns that the prompts keep, by their
    names, and its settings. It gives a number or None
    for each response; None: it cannot be scored.
    """

    does: ClassVar[str] = "what a Python function of yours says"
    when: ClassVar[str] = "you can write down what is good"

    first: ClassVar[tuple[str, ...]] = ("type",)

    type: Literal["function"] = "function"
    thinking: Thinking = "strip"

    @property
    def list_relative(self) -> bool:
        """As the function says by `larpo_lib.rewards.list_relative`; of a finished run its file is not needed."""
        try:
            self.source()
        except ConfigError:
            return False  # `check` tells it before anything is made
        return self.load().list_relative

    @property
    def columns(self) -> frozenset[str]:
        """Those that it takes without a default."""
        return self.load().columns

    @property
    def beyond_one(self) -> None:
        """What a function gives is not known."""
        return

    def make(self) -> Reranker:
        """Load the function."""
        return FunctionReranker(self.load())

    def check(self) -> None:
        """That it can be loaded and called."""
        self.load()


class FunctionReranker(Reranker):
    """Scores responses by a function."""

    def __init__(self, function: RewardFunction) -> None:
        self._function = function
        self.name = function.name
        self.list_relative = function.list_relative

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item.

        Raises:
            LarpoError: the function raises, takes too long, or gives something else than a finite number or None for
                each.
        """
        return self._function.values(items, _score)


def _score(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, Real):
        raise ValueError("a score is a number or None")
    try:
        score = float(value)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise ValueError("a score is a finite number")
    return score
