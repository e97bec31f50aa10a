"""Rewards with a price on length, against reward models that like long responses."""

import re
from collections.abc import Sequence

from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker


class LengthPenalised(Reranker):
    """Another reranker's score, less `penalty` for each character of the response.

    The penalty is part of the name: penalised and plain rewards are never ranked together.
    """

    def __init__(self, reranker: Reranker, penalty: float) -> None:
        self._reranker = reranker
        self._penalty = penalty
        self.name = f"{reranker.name} - {penalty:g} a character"
        self.list_relative = reranker.list_relative

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item and take its length off."""
        scores = self._reranker.score(items)
        return [
            None if score is None else score - self._penalty * len(item.response)
            for item, score in zip(items, scores, strict=True)
        ]

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """What the reranker below cuts."""
        return self._reranker.cut(items)


def unpenalised(name: str) -> str:
    """The name of the reranker below a penalty; any other name as it is."""
    return re.sub(r" - \S+ a character$", "", name)


def penalise_length(reranker: Reranker, penalty: float) -> Reranker:
    """`reranker` with a penalty of so much reward a character; itself where that is 0."""
    return LengthPenalised(reranker, penalty) if penalty else reranker
