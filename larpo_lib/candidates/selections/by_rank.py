"""Selections by the order of the rewards."""

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt

from larpo_lib.config.kinds import SelectionConfig
from larpo_lib.schemas import RankedRow


class BestWorstConfig(SelectionConfig):
    """The best against the worst response: a pair."""

    type: Literal["best_worst"] = "best_worst"

    def select(self, ordered: Sequence[RankedRow]) -> list[RankedRow]:
        """The ends."""
        return _ends(ordered, 1, 1)

    def most(self, k: int) -> int:
        """A pair."""
        return 2


class TopBottomConfig(SelectionConfig):
    """The `top` best and the `bottom` worst responses."""

    type: Literal["top_bottom"] = "top_bottom"
    top: PositiveInt = 2
    """How many of the best responses."""
    bottom: PositiveInt = 2
    """How many of the worst responses."""

    @property
    def in_words(self) -> str:
        """With both numbers."""
        return f"top {self.top}, bottom {self.bottom}"

    def select(self, ordered: Sequence[RankedRow]) -> list[RankedRow]:
        """Both ends."""
        return _ends(ordered, self.top, self.bottom)

    def most(self, k: int) -> int:
        """Both ends."""
        return min(k, self.top + self.bottom)


class OneVsRestConfig(SelectionConfig):
    """The best response and every strictly worse one."""

    type: Literal["one_vs_rest"] = "one_vs_rest"

    def select(self, ordered: Sequence[RankedRow]) -> list[RankedRow]:
        """Without those that are as good as the best."""
        best = ordered[0]
        return [best, *(row for row in ordered if row["reward"] < best["reward"])]


class WholeListConfig(SelectionConfig):
    """Every distinct response."""

    type: Literal["whole_list"] = "whole_list"

    def select(self, ordered: Sequence[RankedRow]) -> list[RankedRow]:
        """All."""
        return list(ordered)


def _ends(ordered: Sequence[RankedRow], top: int, bottom: int) -> list[RankedRow]:
    return [*ordered[:top], *ordered[max(top, len(ordered) - bottom) :]]
