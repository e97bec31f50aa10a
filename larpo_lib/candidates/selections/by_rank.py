"""Selects which of a prompt's ranked responses make up its training list."""

from __future__ import annotations

from collections.abc import Sequence

from larpo_lib.config import BestWorstConfig, OneVsRestConfig, SelectionConfig, TopBottomConfig, WholeListConfig
from larpo_lib.schemas import RankedRow


def select(ordered: Sequence[RankedRow], config: SelectionConfig) -> list[RankedRow]:
    """The selected candidates, best first, none of them twice.

    Args:
        ordered: the distinct candidates of one prompt, best first, at least one.
        config: which of them; a list too short for it gives what there is.
    """
    match config:
        case BestWorstConfig():
            return _ends(ordered, 1, 1)
        case TopBottomConfig():
            return _ends(ordered, config.top, config.bottom)
        case OneVsRestConfig():
            best = ordered[0]
            return [best, *(row for row in ordered if row["reward"] < best["reward"])]
        case WholeListConfig():
            return list(ordered)


def _ends(ordered: Sequence[RankedRow], top: int, bottom: int) -> list[RankedRow]:
    return [*ordered[:top], *ordered[max(top, len(ordered) - bottom) :]]
