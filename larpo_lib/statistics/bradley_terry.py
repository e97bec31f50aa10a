"""The model of Bradley and Terry (1952): strengths of which each comparison's outcome is a logistic function."""

import math
from collections.abc import Sequence

Comparison = tuple[int, int, float]
"""Two that were compared, and the first one's share of the win: 1, 0, or between them for a tie."""

_SMALLEST_STEP = 1e-12
_MOST_STEPS = 100_000


def strengths(count: int, comparisons: Sequence[Comparison]) -> list[float]:
    """The strengths of `count` that were compared, not all of them with each other.

    They maximise sum over comparisons of share * log s(t_i - t_j) + (1 - share) * log s(t_j - t_i), where s is the
    logistic function, with one more comparison for each, a tie with an opponent of strength 0. This one makes the
    maximum unique and finite, also for who won or lost all and for groups that never met. It is found by the iteration
    of Hunter (2004, "MM algorithms for generalized Bradley-Terry models", eq. 3), each step of which is nearer to it.
    """
    wins = [0.5] * count
    met: list[list[int]] = [[] for _ in range(count)]
    for first, second, share in comparisons:
        wins[first] += share
        wins[second] += 1.0 - share
        met[first].append(second)
        met[second].append(first)
    worth = [1.0] * count
    for _ in range(_MOST_STEPS):
        found = [
            wins[i] / (1.0 / (worth[i] + 1.0) + math.fsum(1.0 / (worth[i] + worth[j]) for j in met[i]))
            for i in range(count)
        ]
        step = max((abs(math.log(new / old)) for new, old in zip(found, worth, strict=True)), default=0.0)
        worth = found
        if step < _SMALLEST_STEP:
            break
    return [math.log(each) for each in worth]


def expected_win_rates(found: Sequence[float]) -> list[float]:
    """How often each would win against the others: the mean of s(t_i - t_j) over j, of at least two strengths."""
    return [
        math.fsum(1.0 / (1.0 + math.exp(other - own)) for j, other in enumerate(found) if j != i) / (len(found) - 1)
        for i, own in enumerate(found)
    ]
