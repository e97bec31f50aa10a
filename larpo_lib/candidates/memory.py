"""Memorization: the responses of earlier iterations join the lists of this one (Jin et al. 2025, arXiv 2502.03699)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeVar

from larpo_lib.candidates.ranking import best_first, drop_duplicates, ranks
from larpo_lib.schemas import RankedRow

Memory = Literal["current", "previous", "all"]
Iteration = Mapping[str, Sequence[RankedRow]]
"""The ranked candidates of each prompt in one iteration."""

IterationT = TypeVar("IterationT")

_ITERATIONS: dict[Memory, int | None] = {"current": 1, "previous": 2, "all": None}


def remembered(history: Sequence[IterationT], memory: Memory) -> Sequence[IterationT]:
    """The iterations whose responses a list may hold. `history`: all of them, current last."""
    iterations = _ITERATIONS[memory]
    return history if iterations is None else history[-iterations:]


class Merged(Mapping[str, list[RankedRow]]):
    """The distinct candidates of each prompt over several iterations, best first, ranked together.

    Each list is merged when it is asked for, so that of long histories only one prompt's rows need be in memory.
    Prompts are in the order of their ids; those that only earlier iterations saw keep their own lists.

    Rewards must be comparable over the iterations: those of a pointwise reranker are, those of a list-relative one are
    only when the union was scored again. Of one sample that was scored twice, the score in the later iteration counts.

    Args:
        history: one mapping an iteration, current last.
    """

    def __init__(self, history: Sequence[Iteration]) -> None:
        self._newest_first = history[::-1]
        self._prompt_ids = dict.fromkeys(sorted({prompt_id for iteration in history for prompt_id in iteration}))

    def __getitem__(self, prompt_id: str) -> list[RankedRow]:
        if prompt_id not in self._prompt_ids:
            raise KeyError(prompt_id)
        ordered = best_first(drop_duplicates(self.candidates(prompt_id)))
        places = ranks([row["reward"] for row in ordered])
        return [{**row, "rank": rank} for row, rank in zip(ordered, places, strict=True)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._prompt_ids)

    def __len__(self) -> int:
        return len(self._prompt_ids)

    def candidates(self, prompt_id: str) -> list[RankedRow]:
        """The prompt's candidates with those that repeat a text.

        Newest first: dropping duplicates keeps the first of equals, so the later of two scores of one sample.
        """
        return [row for iteration in self._newest_first for row in iteration.get(prompt_id, ())]
