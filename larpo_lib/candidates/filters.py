"""Leaves out responses that teach little or the wrong thing: near-duplicates, and those of a very different length."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from larpo_lib.config import FiltersConfig
from larpo_lib.schemas import RankedRow
from larpo_lib.scripts import WORD

_WORDS = 3
_WORD = re.compile(WORD)


class Filtered(Mapping[str, list[RankedRow]]):
    """The candidates that stay of each prompt's."""

    def __init__(self, pool: Mapping[str, Sequence[RankedRow]], config: FiltersConfig) -> None:
        self._pool = pool
        self._config = config

    def __getitem__(self, prompt_id: str) -> list[RankedRow]:
        return filtered(self._pool[prompt_id], self._config)[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pool)

    def __len__(self) -> int:
        return len(self._pool)


def filtered(ordered: Sequence[RankedRow], config: FiltersConfig) -> tuple[list[RankedRow], Counter[str]]:
    """What stays of a prompt's candidates, and how many were dropped for which reason. The best one always stays.

    Args:
        ordered: the distinct candidates, best first, at least one.
        config: limits.
    """
    kept, dropped = [ordered[0]], Counter[str]()
    shown = [_shingles(ordered[0]["response"])]
    for row in ordered[1:]:
        if _is_other_length(row["response"], ordered[0]["response"], config.max_length_ratio):
            dropped["other_lengths_dropped"] += 1
            continue
        if config.max_similarity is not None:
            shingles = _shingles(row["response"])
            if any(_jaccard(shingles, other) > config.max_similarity for other in shown):
                dropped["near_duplicates_dropped"] += 1
                continue
            shown.append(shingles)
        kept.append(row)
    return kept, dropped


def _is_other_length(text: str, best: str, most: float | None) -> bool:
    shorter, longer = sorted((len(text), len(best)))
    return most is not None and longer > most * shorter


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    """All runs of three words (Broder 1997, On the resemblance and containment of documents); of fewer words, all."""
    words = _WORD.findall(text.lower()) or [text]
    return frozenset(tuple(words[i : i + _WORDS]) for i in range(max(1, len(words) - _WORDS + 1)))


def _jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)
