"""How scores order judged responses: agreement with preferences, and what is left of it at equal length. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from larpo_lib.metrics import kendall_tau

SIMILAR = 0.1
"""Responses are of similar length where the shorter one lacks at most this share of the longer one's characters."""

MEASURES = (
    "kendall_tau",
    "ndcg",
    "pair_accuracy",
    "pair_accuracy_similar_length",
    "kendall_tau_given_length",
    "kendall_tau_given_model",
)


@dataclass(frozen=True)
class Judged:
    """One response to a prompt.

    Attributes:
        preference: of the judge for it, at least 0.
        length: in characters.
        model: that wrote it.
    """

    preference: float
    length: int
    model: str


def model_means(lists: Iterable[Sequence[Judged]]) -> dict[str, float]:
    """The mean preference of each model over lists: what there is to know of a response from its writer alone."""
    found: dict[str, list[float]] = {}
    for group in lists:
        for one in group:
            found.setdefault(one.model, []).append(one.preference)
    return {model: fmean(values) for model, values in found.items()}


def agreement(scores: Sequence[float], group: Sequence[Judged], means: Mapping[str, float]) -> dict[str, float | None]:
    """How scores order the responses to one prompt, by each of `MEASURES`; None where a measure is not defined.

    - kendall_tau: tau-b of scores and preferences.
    - ndcg: gains are preferences; tied scores share the mean of their gains, so equal scores give a random order's.
    - pair_accuracy: share of the pairs with different preferences that scores order rightly, tied scores half.
    - pair_accuracy_similar_length: the same over pairs of similar length.
    - kendall_tau_given_length, kendall_tau_given_model: partial tau given the length in characters, and given the mean
      preference of the model that wrote the response.

    Args:
        scores: one a response, finite; higher is better.
        group: the responses, at least two.
        means: of `model_means`, elsewhere than on these prompts.
    """
    preferences = [one.preference for one in group]
    return {
        "kendall_tau": kendall_tau(scores, preferences),
        "ndcg": ndcg_of_scores(scores, preferences),
        "pair_accuracy": pair_accuracy(scores, preferences),
        "pair_accuracy_similar_length": pair_accuracy(
            scores, preferences, lambda i, j: similar(group[i].length, group[j].length)
        ),
        "kendall_tau_given_length": partial_kendall_tau(scores, preferences, [one.length for one in group]),
        "kendall_tau_given_model": partial_kendall_tau(scores, preferences, [means[one.model] for one in group]),
    }


def similar(length: int, other: int) -> bool:
    """Whether two lengths differ by at most `SIMILAR` of the longer one."""
    return abs(length - other) <= SIMILAR * max(length, other)


def pair_accuracy(
    scores: Sequence[float],
    preferences: Sequence[float],
    counts: Callable[[int, int], bool] = lambda _i, _j: True,
) -> float | None:
    """Share of pairs with different preferences whose scores are in the same order; tied scores count one half.

    Args:
        scores, preferences: of the responses to one prompt.
        counts: of two places, whether their pair is looked at.

    Returns:
        A number in [0, 1]; None where no pair is looked at.
    """
    pairs = [
        (scores[i] - scores[j]) * (preferences[i] - preferences[j])
        for i, j in combinations(range(len(scores)), 2)
        if preferences[i] != preferences[j] and counts(i, j)
    ]
    return fmean(0.5 + 0.5 * ((value > 0) - (value < 0)) for value in pairs) if pairs else None


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


_ROUNDING = 1e-9
"""Far above what rounding leaves of 1 - 1, far below the next possible value for lists of any usual length."""


def ndcg_of_scores(scores: Sequence[float], gains: Sequence[float]) -> float | None:
    """nDCG of the order that scores give, tied ones sharing the mean of their gains; None where no gain is above 0.

    The expectation over random orders of ties (McSherry and Najork 2008); equal to `sklearn.metrics.ndcg_score`.
    """
    tied: dict[float, list[float]] = {}
    for score, gain in zip(scores, gains, strict=True):
        tied.setdefault(score, []).append(gain)
    best = _dcg(sorted(gains, reverse=True))
    ranked = [fmean(tied[score]) for score in sorted(tied, reverse=True) for _ in tied[score]]
    return _dcg(ranked) / best if best > 0 else None


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(1 + rank) for rank, gain in enumerate(gains, start=1))
