"""Tests of whether a gain exceeds a threshold, by the paired bootstrap, and Holm's correction of several of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from larpo_lib.statistics.estimates import Bootstrap, Estimate, pairs


@dataclass(frozen=True)
class Tested:
    """A one-sided test of the null hypothesis that the mean gain is at most a threshold.

    Attributes:
        gain: the mean gain, and its interval at twice the level of the test, of which the lower end decides: without a
            correction the test rejects where it lies above the threshold.
        p_value: in (0, 1].
    """

    gain: Estimate
    p_value: float


def gain_above(
    threshold: float, new: Sequence[float], old: Sequence[float], bootstrap: Bootstrap, *, lower_is_better: bool = False
) -> Tested:
    """Test whether `new` is better than `old` by more than `threshold`; a negative one asks that it is not much worse.

    The achieved significance level of the percentile bootstrap (Efron and Tibshirani 1993, section 15.4): the share of
    resamples of the pairs whose mean gain is at most the threshold. The gain that was seen counts as one of them
    (Davison and Hinkley 1997, section 4.2), so that no finite number of resamples gives a probability of 0.

    Args:
        threshold: in the values' unit.
        new: values of one system, such as one for each prompt; at least one.
        old: values of the other system on the same prompts, in the same order.
        bootstrap: how to resample; the level of the test is 1 - `confidence`.
        lower_is_better: a gain is a decrease.
    """
    first, second = pairs(new, old)
    gains = second - first if lower_is_better else first - second
    means = bootstrap.resampled_means(gains)
    level = 1 - bootstrap.confidence
    low, high = np.quantile(means, [level, 1 - level])
    p_value = (1 + int(np.count_nonzero(means <= threshold))) / (1 + len(means))
    return Tested(Estimate(float(gains.mean()), float(low), float(high)), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: a hypothesis is rejected at a level if its own is at most that level.

    Holm 1979, "A simple sequentially rejective multiple test procedure": whatever depends on what, the probability of
    any wrong rejection stays below the level. With all p-values sorted, p_(i) is multiplied by how many hypotheses are
    left, m - i + 1, and is at least the adjusted value before it, and at most 1.

    Args:
        p_values: in any order.

    Returns:
        The adjusted ones in the same order.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = min(1.0, max(highest, p_values[index] * (len(p_values) - place)))
        adjusted[index] = highest
    return adjusted
