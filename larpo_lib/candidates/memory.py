"""Memorization: the responses of earlier iterations join the lists of this one (Jin et al. 2025, arXiv 2502.03699)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from larpo_lib.candidates.ranking import best_first, by_prompt, drop_duplicates, ranks
from larpo_lib.schemas import RankedRow

Memory = Literal["current", "previous", "all"]

EntryT = TypeVar("EntryT")

_ITERATIONS: dict[Memory, int | None] = {"current": 1, "previous": 2, "all": None}


@dataclass(frozen=True)
class Merged:
    """Lists over several iterations.

    Attributes:
        lists: the distinct candidates of each prompt, best first, ranked together; prompts by rising prompt_id.
        remembered: candidates that went into `lists`, duplicates included.
        duplicates_dropped: how many of those repeated a text of their prompt.
    """

    lists: dict[str, list[RankedRow]]
    remembered: int
    duplicates_dropped: int


def remembered(history: Sequence[EntryT], memory: Memory) -> Sequence[EntryT]:
    """The iterations whose responses a list may hold. `history`: one entry an iteration, current last."""
    iterations = _ITERATIONS[memory]
    return history if iterations is None else history[-iterations:]


def merge(history: Sequence[Sequence[RankedRow]], memory: Memory) -> Merged:
    """Merge the iterations per prompt; prompts that only earlier iterations saw stay with their own lists.

    Rewards must be comparable over the iterations: those of a pointwise reranker are, those of a list-relative one are
    only when the union was scored again. Of one sample that was scored twice, the score in the later iteration counts.
    """
    # Newest first: dropping duplicates keeps the first of equals, so the later of two scores of one sample.
    rows = [row for iteration in reversed(remembered(history, memory)) for row in iteration]
    lists = {}
    dropped = 0
    for prompt_id, candidates in by_prompt(rows).items():
        distinct, duplicates = drop_duplicates(candidates)
        lists[prompt_id] = _ranked(distinct)
        dropped += duplicates
    return Merged(lists, len(rows), dropped)


def _ranked(candidates: Sequence[RankedRow]) -> list[RankedRow]:
    ordered = best_first(candidates)
    return [{**row, "rank": rank} for row, rank in zip(ordered, ranks([row["reward"] for row in ordered]), strict=True)]
