"""Orders the candidates of a prompt by reward. Rewards are finite float64 numbers; higher is better."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from larpo_lib.schemas import CandidateRow, RankedRow

RowT = TypeVar("RowT", bound=CandidateRow)


def ranks(rewards: Sequence[float]) -> list[int]:
    """Competition ranks of `rewards`, in their order: 1 = best, equal rewards share a rank, the next one counts on."""
    first: dict[float, int] = {}
    for place, reward in enumerate(sorted(rewards, reverse=True), start=1):
        first.setdefault(reward, place)
    return [first[reward] for reward in rewards]


def pairs_tied_in_float32(rewards: Sequence[float]) -> int:
    """Pairs of rewards that differ as they are, in float64, and are equal in float32."""
    with np.errstate(over="ignore"):
        rounded = np.asarray(rewards, dtype=np.float64).astype(np.float32).tolist()
    return _tied_pairs(rounded) - _tied_pairs(rewards)


def _tied_pairs(rewards: Sequence[float]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(rewards).values())


def best_first(candidates: Iterable[RankedRow]) -> list[RankedRow]:
    """The candidates by falling reward; equal rewards by candidate_id, so that the input's order never matters."""
    return sorted(candidates, key=lambda row: (-row["reward"], row["candidate_id"]))


def drop_duplicates(candidates: Iterable[RowT]) -> list[RowT]:
    """The first sampled of each candidate_id, one text as the response to one prompt, by iteration and sample_index."""
    kept: dict[str, RowT] = {}
    for row in sorted(candidates, key=lambda row: (row["iteration"], row["sample_index"])):
        kept.setdefault(row["candidate_id"], row)
    return list(kept.values())


def by_prompt(candidates: Iterable[RowT]) -> dict[str, list[RowT]]:
    """The candidates of each prompt, prompts by rising prompt_id."""
    groups: dict[str, list[RowT]] = {}
    for row in candidates:
        groups.setdefault(row["prompt_id"], []).append(row)
    return dict(sorted(groups.items()))
