"""Rewards with a price on length, against reward models that like long responses."""

import re
from collections.abc import Callable, Sequence

from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker


class LengthPenalised(Reranker):
    """Another reranker's score, less `penalty` for each character of what it is of, without other thoughts.

    The penalty is part of the name: penalised and plain rewards are never ranked together.
    """

    def __init__(self, reranker: Reranker, penalty: float, scored: Callable[[str], str]) -> None:
        self._reranker = reranker
        self._penalty, self._scored = penalty, scored
        self.name = f"{reranker.name} - {penalty:g} a character"
        self.list_relative = reranker.list_relative

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item and take its length off."""
        scores = self._reranker.score(items)
        return [
            None if score is None else score - self._penalty * len(self._scored(item.response))
            for item, score in zip(items, scores, strict=True)
        ]

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """What the reranker below cuts."""
        return self._reranker.cut(items)


def unpenalised(name: str) -> str:
    """The name of the reranker below a penalty; any other name as it is."""
    return re.sub(r" - \S+ a character$", "", name)


def penalise_length(reranker: Reranker, penalty: float, scored: Callable[[str], str]) -> Reranker:
    """`reranker` with a penalty of so much reward a character; itself where that is 0.

    Args:
        reranker: that scores.
        penalty: a character.
        scored: from a response to what its reward is of, whose characters count.
    """
    return LengthPenalised(reranker, penalty, scored) if penalty else reranker
