"""Makes one list of what several rows say of the responses to a prompt."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from larpo_lib.schemas import UNKNOWN


class Scored(NamedTuple):
    """A response, its reward, the name of what generated it, and what is known of how it was generated."""

    response: str
    reward: float
    policy: str
    finish_reason: str = UNKNOWN
    token_ids: list[int] | None = None


@dataclass(frozen=True)
class Merged:
    """The list of a prompt.

    Attributes:
        candidates: distinct responses, in order of appearance.
        counts: of what was found against it, and of what was left out.
    """

    candidates: list[Scored]
    counts: Counter[str]


Merge = Callable[[Sequence[Sequence[Scored]]], Merged]
"""Of the responses of each row with the prompt."""


def first_rewards(rows: Sequence[Sequence[Scored]]) -> Merged:
    """Each response with the first of its rewards; `reward_conflicts` counts those whose reward differs from it."""
    kept = _distinct(rows)
    conflicts = sum(one.reward != kept[one.response].reward for row in rows for one in row)
    return Merged([*kept.values()], Counter(reward_conflicts=conflicts))


def stated_orders(rows: Sequence[Sequence[Scored]]) -> Merged:
    """The responses of pairs, with the number of steps down from each to a worst one as its reward.

    A row has the chosen response first. Its rejected ones follow. What two rows say together may order responses that
    neither compares: of "a better than b" and "c better than d" nobody knows whether a is better than d. The list is
    whole if every two responses with different rewards are compared by a row, or by what follows from several rows.
    Else it has the response that is chosen over the most others, the first of equals, and all that are worse by a row;
    `incomparable_pairs_dropped` and `incomparable_responses_dropped` count the rest. A pair whose opposite stands in an
    earlier row is dropped too (`contradicting_pairs_dropped`).
    """
    kept, contradicting = _distinct(rows), 0
    edges: dict[tuple[str, str], None] = {}
    for better, worse in _pairs(rows):
        if better == worse or (worse, better) in edges:
            contradicting += 1
        else:
            edges[better, worse] = None
    rewards = _levels(kept, edges)
    incomparable = 0
    if rewards is None:
        [(best, _)] = Counter(better for better, _ in edges).most_common(1)
        among = [edge for edge in edges if edge[0] == best]
        incomparable = len(edges) - len(among)
        rewards = {best: 1} | dict.fromkeys((worse for _, worse in among), 0)
    candidates = [one._replace(reward=float(rewards[text])) for text, one in kept.items() if text in rewards]
    counts = Counter(
        contradicting_pairs_dropped=contradicting,
        incomparable_pairs_dropped=incomparable,
        incomparable_responses_dropped=len(kept) - len(candidates),
    )
    return Merged(candidates, counts)


def _distinct(rows: Sequence[Sequence[Scored]]) -> dict[str, Scored]:
    found: dict[str, Scored] = {}
    for row in rows:
        for one in row:
            found.setdefault(one.response, one)
    return found


def _pairs(rows: Sequence[Sequence[Scored]]) -> Iterator[tuple[str, str]]:
    return ((chosen.response, one.response) for chosen, *rejected in rows for one in rejected)


def _levels(responses: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, int] | None:
    """Response -> longest way down from it; None if there is a circle, or if the levels order more than the edges.

    It is enough that all of a level stand in an edge with all of the next one: whatever lies further apart follows.
    """
    above: dict[str, list[str]] = {response: [] for response in responses}
    waiting = Counter(better for better, _ in edges)
    for better, worse in edges:
        above[worse].append(better)
    levels = {response: 0 for response in above if not waiting[response]}
    queue = list(levels)
    for response in queue:
        for better in above[response]:
            levels[better] = levels[response] + 1
            waiting[better] -= 1
            if not waiting[better]:
                queue.append(better)
    if len(queue) < len(above):
        return None
    sizes = [size for _, size in sorted(Counter(levels.values()).items())]
    next_to = sum(levels[better] == levels[worse] + 1 for better, worse in edges)
    return levels if next_to == sum(lower * upper for lower, upper in pairwise(sizes)) else None
