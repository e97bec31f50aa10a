"""What N of the responses to one prompt are worth, as independent draws."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from larpo_lib.statistics.estimates import at_least_one


def pass_at_n(correct: Sequence[bool], n: int) -> float:
    """Probability that at least one of `n` responses is right.

    The unbiased estimator 1 - C(wrong, n) / C(total, n) of Chen et al. 2021 (arXiv 2107.03374, equation 1).

    Args:
        correct: whether each response is right; at least `n` of them.
        n: responses that count, at least 1.
    """
    _check(correct, n)
    return 1 - math.comb(sum(not right for right in correct), n) / math.comb(len(correct), n)


def best_of_n(rewards: Sequence[float], n: int) -> float:
    """Expected highest reward among `n` responses.

    Unbiased in the way of `pass_at_n`, which it equals on rewards of 0 and 1: the i-th lowest of all rewards is the
    highest in C(i - 1, n - 1) of the C(total, n) draws without replacement.

    Args:
        rewards: of each response; at least `n` of them.
        n: responses that count, at least 1.
    """
    _check(rewards, n)
    draws = math.comb(len(rewards), n)
    return sum(reward * (math.comb(i, n - 1) / draws) for i, reward in enumerate(sorted(rewards)))


def majority_vote(answers: Sequence[Hashable | None], right: Hashable) -> float:
    """Chance that the answer most responses agree on is right, ties being decided by lot.

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


def _check(responses: Sequence[float], n: int) -> None:
    at_least_one(n)
    if n > len(responses):
        raise ValueError(f"there are {len(responses)} responses, fewer than n = {n}")
