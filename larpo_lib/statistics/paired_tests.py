"""Tests, for few items too, of whether a gain exceeds a threshold, and Holm's correction of several of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from larpo_lib.statistics.estimates import Bootstrap, Estimate, Floats, pairs

LEAST_ITEMS = 5
"""Of fewer items, even gains that are all equal have a p-value above 5 %."""
_ROUNDING = 1e-9  # of the largest value: 1.1 - 1.0 is not more than 0.1
_CHUNK_ELEMENTS = 1_000_000  # weights that exist at one time


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
    threshold: float,
    new: Sequence[float],
    old: Sequence[float],
    bootstrap: Bootstrap,
    *,
    lower_is_better: bool = False,
    scale: float = 0.0,
) -> Tested:
    """Test whether `new` is better than `old` by more than `threshold`; a negative one asks that it is not much worse.

    Items that were not seen may be worse than all that were. So one more item, as bad as it could be, is added to the
    gains, and all are weighted at random, by weights that are uniform on the simplex: a Bayesian bootstrap (Rubin 1981)
    with the bound of Gaffke 2005 (see Learned-Miller and Thomas 2019, "A new confidence interval for the mean of a
    bounded random variable"). The p-value is the share of drawn weights whose mean is at most the threshold, with one
    added to both counts (Davison and Hinkley 1997, section 4.2). Of two possible gains it is the exact binomial test
    (Clopper and Pearson 1934): n items that all stayed right exclude a share m of losses with p = (1 - m)^n, which is
    the rule of three.

    The added item loses as much as the largest change that was seen, and lies as far below the threshold as any gain
    lies from it. Where half of the items or more did not change, what an item can lose was hardly seen: then it loses
    `scale`, or the range of all values if that is larger.

    Of 100 true null hypotheses it rejects, at the level of 5 %, and in brackets the plain percentile bootstrap (1,000
    simulations of each, 300 resamples):

    | gains | n = 5 | n = 10 | n = 20 | n = 50 | n = 200 |
    |---|---|---|---|---|---|
    | normal | 0.0 (10.1) | 0.6 (8.1) | 0.9 (6.2) | 1.5 (4.8) | 3.5 (5.6) |
    | exponential tail of losses | 1.1 (22.5) | 5.6 (15.4) | 6.5 (12.2) | 3.0 (8.9) | 2.4 (5.8) |
    | exponential tail of gains | 0.0 (4.9) | 0.0 (4.8) | 0.0 (2.7) | 0.5 (4.5) | 1.5 (5.3) |
    | lognormal tail of losses | 1.5 (29.2) | 11.8 (23.4) | 11.4 (20.0) | 5.5 (12.2) | 4.5 (9.3) |
    | 0/1, 5 % lost; margin 0.05 | 0.0 (78.1) | 0.0 (59.8) | 0.0 (37.8) | 0.5 (8.4) | 3.7 (6.5) |
    | 0/1, 2 % lost; margin 0.02 | 0.0 (91.1) | 0.0 (79.4) | 0.0 (67.2) | 0.0 (35.4) | 1.9 (9.2) |
    | 0/1, 10 % lost, 5 % won; 0.05 | 0.0 (59.9) | 0.0 (35.7) | 1.6 (13.7) | 1.6 (6.9) | 4.2 (5.2) |
    | 0/1, 10 % lost, 10 % won; 0 | 0.0 (0.6) | 0.0 (2.7) | 0.7 (5.4) | 2.4 (4.5) | 5.5 (5.9) |
    | 0/1, 30 % lost, 30 % won; 0 | 1.4 (6.6) | 1.7 (5.2) | 2.2 (3.5) | 3.8 (5.2) | 4.3 (4.8) |
    | means of 8 of 0/1 | 0.0 (7.4) | 0.0 (5.5) | 1.0 (5.2) | 1.2 (4.5) | 2.9 (4.9) |
    | such means, 10 % lose 0.5 | 0.0 (57.4) | 0.0 (35.0) | 0.0 (12.5) | 0.0 (11.7) | 1.0 (4.9) |

    So the level holds but for few items with a tail of losses so long that hardly any of them are seen.

    Args:
        threshold: in the values' unit.
        new: values of one system, such as one for each prompt; at least one.
        old: values of the other system on the same prompts, in the same order.
        bootstrap: how many weights to draw; the level of the test is 1 - `confidence`.
        lower_is_better: a gain is a decrease.
        scale: the range that values can have, such as 1 for right or wrong; 0 if that is not known.
    """
    first, second = pairs(new, old)
    gains = second - first if lower_is_better else first - second
    inner, added = _weighted(gains, bootstrap)
    loss = _largest_loss(threshold, gains, np.concatenate([first, second]), scale)
    lowest, highest = inner - added * loss, inner + added * loss
    level = 1 - bootstrap.confidence
    rounding = _ROUNDING * max(abs(threshold), np.abs(first).max(), np.abs(second).max())
    p_value = (1 + int(np.count_nonzero(lowest <= threshold + rounding))) / (1 + len(lowest))
    low, high = float(np.quantile(lowest, level)), float(np.quantile(highest, 1 - level))
    return Tested(Estimate(float(gains.mean()), low, high), p_value)


def _largest_loss(threshold: float, gains: Floats, values: Floats, scale: float) -> float:
    if 2 * np.count_nonzero(gains) <= len(gains):
        return max(scale, float(np.ptp(values))) or float(np.abs(values).max()) or 1.0
    mirrored = float(np.abs(gains - threshold).max()) - threshold
    return max(float(np.abs(gains).max()), min(mirrored, scale or mirrored))


def _weighted(gains: Floats, bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """Of each draw of weights, (resamples,): the weighted sum of the gains, and the weight of one item more."""
    random = np.random.default_rng(bootstrap.seed)
    rows = max(1, _CHUNK_ELEMENTS // len(gains))
    sums, left = [], []
    for start in range(0, bootstrap.resamples, rows):
        weights = random.exponential(size=(min(rows, bootstrap.resamples - start), len(gains) + 1))
        weights /= weights.sum(axis=1, keepdims=True)
        sums.append(weights[:, :-1] @ gains)
        left.append(weights[:, -1])
    return np.concatenate(sums), np.concatenate(left)


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
