"""How one order of the items of a list agrees with another one, or with what they are worth."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import fmean

import numpy as np

from larpo_lib.statistics.estimates import Floats, at_least_one, pairs

_ROUNDING = 1e-9
"""Far above what rounding leaves of 1 - 1, far below the next possible value for lists of any usual length."""


def recall_at_n(relevant: Sequence[bool], n: int) -> float | None:
    """Share of the relevant items that stand among the first `n`.

    Args:
        relevant: whether each item is, in ranked order.
        n: items that count, at least 1.

    Returns:
        A number in [0, 1]; None where no item is relevant.
    """
    at_least_one(n)
    return sum(relevant[:n]) / sum(relevant) if any(relevant) else None


def ndcg(scores: Sequence[float], gains: Sequence[float]) -> float | None:
    """Normalised discounted cumulative gain, linear gains, discount 1 / log2(1 + rank), of the order that scores give.

    Järvelin and Kekäläinen 2002. Items of one score share the mean of their gains: the expectation over random orders
    of ties (McSherry and Najork 2008). Equal to `sklearn.metrics.ndcg_score`.

    Args:
        scores: of each item; higher stands first.
        gains: of each item; finite, not negative.

    Returns:
        A number in [0, 1]; None where no gain is above 0.
    """
    if not all(math.isfinite(gain) and gain >= 0 for gain in gains):
        raise ValueError("gains must be finite and not negative")
    tied: dict[float, list[float]] = {}
    for score, gain in zip(scores, gains, strict=True):
        tied.setdefault(score, []).append(gain)
    best = _dcg(sorted(gains, reverse=True))
    ranked = [fmean(tied[score]) for score in sorted(tied, reverse=True) for _ in tied[score]]
    return _dcg(ranked) / best if best > 0 else None


def pair_accuracy(
    scores: Sequence[float],
    preferences: Sequence[float],
    counts: Callable[[int, int], bool] = lambda _i, _j: True,
) -> float | None:
    """Share of pairs with different preferences whose scores are in the same order; tied scores count one half.

    Args:
        scores, preferences: of the items of one list.
        counts: of two places, whether their pair is looked at.

    Returns:
        A number in [0, 1]; None where no pair is looked at.
    """
    compared = [
        (scores[i] - scores[j]) * (preferences[i] - preferences[j])
        for i, j in combinations(range(len(scores)), 2)
        if preferences[i] != preferences[j] and counts(i, j)
    ]
    return fmean(0.5 + 0.5 * ((value > 0) - (value < 0)) for value in compared) if compared else None


def kendall_tau(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Kendall's tau-b of paired values, ties accounted for; None where all of `x` or all of `y` are equal.

    Kendall 1945. O(n^2) time, O(n) memory: scipy's rounds its last digit otherwise, and works out a p-value each time.
    """
    left, right = pairs(x, y)
    agreement = untied_left = untied_right = 0.0
    for i in range(len(left) - 1):
        a, b = np.sign(left[i + 1 :] - left[i]), np.sign(right[i + 1 :] - right[i])
        agreement += float(a @ b)
        untied_left += np.count_nonzero(a)
        untied_right += np.count_nonzero(b)
    if not untied_left or not untied_right:
        return None
    return agreement / math.sqrt(untied_left * untied_right)


def partial_kendall_tau(x: Sequence[float], y: Sequence[float], given: Sequence[float]) -> float | None:
    """Kendall's partial tau of `x` and `y` given a third variable, from the three tau-b.

    (t_xy - t_xz t_yz) / sqrt((1 - t_xz^2) (1 - t_yz^2)); a constant `given` explains nothing, so that tau is left.
    tau-b is the correlation of the signs of all pairs' differences, so this is their partial correlation, in [-1, 1].

    Source: Kendall, "Partial rank correlation", Biometrika 32 (1942).

    Returns:
        None where `x` or `y` is constant, or ordered just as `given` or against it: then nothing is left to explain.
    """
    both, left, right = kendall_tau(x, y), kendall_tau(x, given), kendall_tau(y, given)
    if both is None or left is None or right is None:
        return both
    unexplained = (1 - left * left) * (1 - right * right)
    return (both - left * right) / math.sqrt(unexplained) if unexplained > _ROUNDING else None


def spearman(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float | None:
    """Spearman's correlation of paired values, ties at their mean rank; None where all of `x` or all of `y` are equal.

    Spearman 1904. O(n log n) time.
    """
    left, right = (_mean_ranks(values) for values in pairs(x, y))
    left, right = left - left.mean(), right - right.mean()
    spread = math.sqrt(float(left @ left) * float(right @ right))
    return float(left @ right) / spread if spread else None


def _mean_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    from scipy.stats import rankdata

    found: Floats = rankdata(values)
    return found


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(1 + rank) for rank, gain in enumerate(gains, start=1))
