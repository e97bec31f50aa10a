"""Measures of retrieval, ranking and preference, and bootstrap intervals for their means.

Arguments that make no sense (no values, lengths that differ, `n` out of range) are a ValueError: the caller's mistake.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CHUNK_ELEMENTS = 1_000_000  # drawn values that exist at one time


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float


def pass_at_n(correct: Sequence[Sequence[bool]], n: int) -> float:
    """Probability that at least one of `n` responses to a prompt is right, mean over prompts.

    The unbiased estimator 1 - C(wrong, n) / C(total, n) of Chen et al. 2021 (arXiv 2107.03374, equation 1).

    Args:
        correct: for each prompt, whether each response is right; at least `n` of them.
        n: responses that count, at least 1.
    """
    _check_draws(correct, n)
    return _mean(1 - math.comb(sum(not right for right in one), n) / math.comb(len(one), n) for one in correct)


def best_of_n(rewards: Sequence[Sequence[float]], n: int) -> float:
    """Expected highest reward among `n` responses to a prompt, mean over prompts.

    Unbiased in the way of `pass_at_n`, which it equals on rewards of 0 and 1: the i-th lowest of all rewards is the
    highest in C(i - 1, n - 1) of the C(total, n) draws without replacement.

    Args:
        rewards: for each prompt, the reward of each response; at least `n` of them.
        n: responses that count, at least 1.
    """
    _check_draws(rewards, n)
    return _mean(
        sum(reward * (math.comb(i, n - 1) / math.comb(len(one), n)) for i, reward in enumerate(sorted(one)))
        for one in rewards
    )


def majority_vote(answers: Sequence[Hashable | None], right: Hashable) -> float:
    """Chance that the answer most responses to one prompt agree on is right, ties being decided by lot.

    Self-consistency of Wang et al. 2022 (arXiv 2203.11171), unweighted.

    Args:
        answers: of each response; None has no answer and no vote.
        right: the right answer.

    Returns:
        1 or 0; with ties the share of right ones among the most frequent answers; 0 where nobody votes.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    most = max(votes.values(), default=0)
    winners = [answer for answer, count in votes.items() if count == most]
    return winners.count(right) / len(winners) if winners else 0.0


def recall_at_n(relevant: Sequence[Sequence[bool]], n: int) -> float | None:
    """Share of a prompt's relevant documents that stand among the first `n`, mean over prompts.

    Args:
        relevant: for each prompt, whether each document is relevant, in ranked order.
        n: documents that count, at least 1.

    Returns:
        A number in [0, 1] over the prompts that have a relevant document; None where no prompt has.
    """
    _at_least_one(n)
    shares = [sum(one[:n]) / sum(one) for one in relevant if any(one)]
    return _mean(shares) if shares else None


def ndcg(gains: Sequence[Sequence[float]], n: int | None = None) -> float | None:
    """Normalised discounted cumulative gain with linear gains and discount 1 / log2(1 + rank), mean over prompts.

    Järvelin and Kekäläinen 2002; equal to `sklearn.metrics.ndcg_score` on scores without ties.

    Args:
        gains: for each prompt, the gain of each document, in ranked order; not negative.
        n: documents that count, at least 1; None means all.

    Returns:
        A number in [0, 1] over the prompts that have a document with a gain; None where no prompt has.
    """
    if n is not None:
        _at_least_one(n)
    if not all(math.isfinite(gain) and gain >= 0 for one in gains for gain in one):
        raise ValueError("gains must be finite and not negative")
    shares = [_discounted(one[:n]) / _discounted(sorted(one, reverse=True)[:n]) for one in gains if any(one)]
    return _mean(shares) if shares else None


def mrr(relevant: Sequence[Sequence[bool]]) -> float:
    """Mean over prompts of 1 / rank of the first relevant document; a prompt without one counts 0.

    Args:
        relevant: for each prompt, whether each document is relevant, in ranked order; at least one prompt.
    """
    return _mean(1 / (1 + list(one).index(True)) if any(one) else 0.0 for one in relevant)


def kendall_tau(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Kendall's tau-b of paired values, ties accounted for; None where all of `x` or all of `y` are equal.

    Kendall 1945. O(n^2) time, O(n) memory.
    """
    left, right = _pairs(x, y)
    agreement = untied_left = untied_right = 0.0
    for i in range(len(left) - 1):
        a, b = np.sign(left[i + 1 :] - left[i]), np.sign(right[i + 1 :] - right[i])
        agreement += float(a @ b)
        untied_left += np.count_nonzero(a)
        untied_right += np.count_nonzero(b)
    if not untied_left or not untied_right:
        return None
    return agreement / math.sqrt(untied_left * untied_right)


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's correlation of paired values, ties at their mean rank; None where all of `x` or all of `y` are equal.

    Spearman 1904. O(n log n) time.
    """
    left, right = (_mean_ranks(values) for values in _pairs(x, y))
    left, right = left - left.mean(), right - right.mean()
    spread = math.sqrt(float(left @ left) * float(right @ right))
    return float(left @ right) / spread if spread else None


def win_rate(new: Sequence[float], old: Sequence[float]) -> float:
    """Share of pairs that `new` wins; a tie counts one half."""
    first, second = _pairs(new, old)
    return float(np.mean((first > second) + 0.5 * (first == second)))


def bootstrap_mean(values: Sequence[float], confidence: float, resamples: int, seed: int) -> Interval:
    """Mean with its percentile bootstrap interval (Efron 1979).

    Args:
        values: independent values, such as one for each prompt; at least one.
        confidence: probability the interval is to hold, in (0, 1).
        resamples: how often to draw len(values) of them with replacement.
        seed: decides the draws.
    """
    data = _values(values)
    means = _resampled_means(data, resamples, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(data.mean()), float(low), float(high))


def paired_bootstrap(new: Sequence[float], old: Sequence[float], margin: float, resamples: int, seed: int) -> float:
    """Share of bootstrap resamples of the pairs in which the mean of new - old exceeds `margin`.

    Args:
        new: values of one system, such as one for each prompt; at least one.
        old: values of the other system on the same prompts, in the same order.
        margin: difference to beat, in the values' unit.
        resamples: how often to draw len(new) pairs with replacement.
        seed: decides the draws.
    """
    first, second = _pairs(new, old)
    return float(np.mean(_resampled_means(first - second, resamples, seed) > margin))


def distinct_share(responses: Sequence[str]) -> float:
    """Number of different responses per response, in (0, 1]; at least one response."""
    if not responses:
        raise ValueError("there are no responses")
    return len(set(responses)) / len(responses)


def duplicate_share(groups: Sequence[Sequence[Hashable]]) -> float | None:
    """Share of responses that repeat another one of their group, in [0, 1].

    Of the responses a, a, b of one group two repeat another one: the share is 2/3. It reaches 1 where all are alike,
    whatever their number.

    Args:
        groups: texts or ids of the responses that are compared, such as those to one prompt at one temperature.

    Returns:
        The share over all groups of two responses or more; None where there is no such group.
    """
    compared = [group for group in groups if len(group) > 1]
    responses = sum(map(len, compared))
    return sum(map(repeated, compared)) / responses if responses else None


def repeated(responses: Sequence[Hashable]) -> int:
    """How many of the responses have an equal among the others."""
    return sum(times for times in Counter(responses).values() if times > 1)


def distinct_n(sequences: Sequence[Sequence[Hashable]], n: int) -> float | None:
    """Share of different n-grams among all n-grams of a set of sequences, in (0, 1].

    Li et al. 2016 (arXiv 1510.03055) divide by the number of words instead, for the same purpose; by n-grams the
    share of sequences without any repetition is 1 for every n.

    Args:
        sequences: words or tokens; no n-gram spans two sequences.
        n: at least 1.

    Returns:
        The share; None where no sequence has n elements.
    """
    distinct, total = ngram_counts(sequences, n)
    return distinct / total if total else None


def ngram_counts(sequences: Sequence[Sequence[Hashable]], n: int) -> tuple[int, int]:
    """How many different n-grams a set of sequences has, and how many in all."""
    _at_least_one(n)
    found = [tuple(one[i : i + n]) for one in sequences for i in range(len(one) - n + 1)]
    return len(set(found)), len(found)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(_values(list(values))))


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(1 + rank) for rank, gain in enumerate(gains, start=1))


def _check_draws(prompts: Sequence[Sequence[float]], n: int) -> None:
    _at_least_one(n)
    fewest = min(map(len, prompts), default=n)
    if n > fewest:
        raise ValueError(f"a prompt has {fewest} responses, fewer than n = {n}")


def _resampled_means(data: Floats, resamples: int, seed: int) -> Floats:
    _at_least_one(resamples)
    random = np.random.default_rng(seed)

    def chunks() -> Iterator[Floats]:
        rows = max(1, _CHUNK_ELEMENTS // len(data))
        for start in range(0, resamples, rows):
            size = (min(rows, resamples - start), len(data))
            yield data[random.integers(len(data), size=size)].mean(axis=1)

    return np.concatenate(list(chunks()))


def _values(values: Sequence[float]) -> Floats:
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        raise ValueError("there are no values")
    if not np.all(np.isfinite(data)):
        raise ValueError("values must be finite")
    return data


def _mean_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: Floats = last - (counts - 1) / 2
    return means[place]


def _pairs(first: Sequence[float], second: Sequence[float]) -> tuple[Floats, Floats]:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    return _values(first), _values(second)


def _at_least_one(number: int) -> None:
    if number < 1:
        raise ValueError(f"must be at least 1, not {number}")
