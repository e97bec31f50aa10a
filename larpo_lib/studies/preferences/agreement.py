"""How scores order judged responses: agreement with preferences, and what is left of it at equal length. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from larpo_lib.statistics.ranking import kendall_tau, ndcg, pair_accuracy, partial_kendall_tau

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
        "ndcg": ndcg(scores, preferences),
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
