"""What every reranker offers: the reward model's side of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from larpo_lib.rewards.answers import Scorable


class Reranker(Protocol):
    """Scores responses; higher is better.

    Attributes:
        name: recorded in the `reranker` column.
        list_relative: a score holds only within the list it was given in, so merged lists are scored again as one.
    """

    name: str
    list_relative: bool = False

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item, in their order. None: it cannot be scored (too long); the caller drops and counts it.

        Items of one prompt_id are a list. All of a list must be given at once to a list-relative reranker.
        """
        ...

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """Counts, by their name in the metrics, of what of these items it sees a part of only; none if it never cuts.

        Distinct prompts and responses are counted once, so the counts of several calls that share no prompt add up.
        """
        return {}
