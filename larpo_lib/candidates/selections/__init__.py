"""Selects which of a prompt's ranked responses make up its training list. A module here holds selections."""

from __future__ import annotations

from collections.abc import Sequence

from larpo_lib.config.kinds import SelectionConfig
from larpo_lib.schemas import RankedRow


def select(ordered: Sequence[RankedRow], config: SelectionConfig) -> list[RankedRow]:
    """The selected candidates, best first, none of them twice.

    Args:
        ordered: the distinct candidates of one prompt, best first, at least one.
        config: which of them; a list too short for it gives what there is.
    """
    chosen: list[RankedRow] = config.select(ordered)
    return chosen
