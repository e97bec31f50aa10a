"""What every reranker offers: the reward model's side of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from larpo_lib.answers import Scorable


class Reranker(Protocol):
    """Scores responses; higher is better.

    Attributes:
        name: recorded in the `reranker` column.
        list_relative: a score holds only within the list it was given in, so merged lists are scored again as one.
    """

    name: str
    list_relative: bool

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item, in their order. None: it cannot be scored (too long); the caller drops and counts it."""
        ...
