"""Means and their uncertainty: bootstrap intervals, paired comparisons and standard errors."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = Mapping[str, float]
"""Item, such as a prompt, to its value."""

_ROUNDING = 1e-9  # of the largest value
_CHUNK_ELEMENTS = 1_000_000  # drawn values that exist at one time


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is; None where it is not defined.

    Attributes:
        value: a mean, or another statistic of the items.
        low, high: bounds of its confidence interval.
        standard_error: in the same unit.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None

    def as_mean(self) -> dict[str, float | None]:
        """A mean and its interval, as JSON files hold them."""
        return {"mean": self.value, "low": self.low, "high": self.high}


UNKNOWN = Estimate(None)
"""Of no items."""


class Resampling(Protocol):
    """Settings that say how intervals are made; see `Bootstrap`."""

    @property
    def confidence(self) -> float:
        """Probability that an interval is to hold."""

    @property
    def resamples(self) -> int:
        """How often all items are drawn."""

    @property
    def seed(self) -> int:
        """Decides the draws."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: percentiles over resamples of the items with replacement (Efron 1979).

    Attributes:
        confidence: probability that an interval is to hold, in (0, 1).
        resamples: how often all items are drawn.
        seed: decides the draws.
    """

    confidence: float
    resamples: int
    seed: int

    @classmethod
    def of(cls, settings: Resampling) -> Self:
        """As settings have it."""
        return cls(settings.confidence, settings.resamples, settings.seed)

    def mean(self, values: Sequence[float]) -> Estimate:
        """The mean of independent values, such as one for each prompt, with its interval; `UNKNOWN` without any."""
        if not len(values):
            return UNKNOWN
        data = checked(values)
        return Estimate(float(data.mean()), *self._percentiles(self.resampled_means(data)))

    def mean_and_error(self, values: Sequence[float]) -> Estimate:
        """`mean` with its standard error; both only if they are `told_apart`."""
        found = self.mean(values)
        if not told_apart(values):
            return Estimate(found.value)
        return Estimate(found.value, found.low, found.high, standard_error(values))

    def mean_of_groups(self, groups: Sequence[Sequence[float]]) -> Estimate:
        """Mean of group means, with an interval from resampling groups, and values within each of them.

        The runs of a few seeds say little about other seeds; resampling prompts alone would hide that.

        In each resample the values of every group are drawn once. A group that is drawn several times has the same
        values each time; a nested bootstrap (Davison and Hinkley 1997, 3.8) would draw them anew. Of K groups, with b
        the variance of their means (over K) and w the mean over groups of a mean's variance within its group, the
        variance of the resampled means is (b + (2 - 1/K) w) / K here, and (b + w) / K there: intervals are wider, by a
        factor of at most sqrt(2 - 1/K). b itself contains about (1 - 1/K) w of noise. So intervals are too wide where
        groups differ by no more than that; of a few groups that differ by much more, both are too narrow, these less.

        Args:
            groups: values of each group, such as a seed's; `UNKNOWN` where one has none.
        """
        if not all(map(len, groups)):
            return UNKNOWN
        random = np.random.default_rng(self.seed)
        data = [np.asarray(group, dtype=np.float64) for group in groups]
        means = np.stack([_drawn(random, group, self.resamples).mean(axis=1) for group in data])
        drawn = random.integers(len(data), size=(self.resamples, len(data)))
        resampled = means[drawn, np.arange(self.resamples)[:, None]].mean(axis=1)
        return Estimate(float(np.mean([group.mean() for group in data])), *self._percentiles(resampled))

    def interval(self, items: int, statistic: Callable[[NDArray[np.int64]], float | None]) -> Estimate:
        """The interval alone of any statistic.

        Args:
            items: how many there are.
            statistic: from the places of the drawn items, (items,), to its value; None where it is not defined on them.
        """
        random = np.random.default_rng(self.seed)
        drawn = (statistic(random.integers(items, size=items)) for _ in range(self.resamples))
        found = [value for value in drawn if value is not None]
        return Estimate(None, *self._percentiles(found)) if found else UNKNOWN

    def probability_above(self, margin: float, new: Sequence[float], old: Sequence[float]) -> float:
        """Share of resamples of the pairs in which the mean of new - old exceeds `margin`.

        Args:
            margin: difference to beat, in the values' unit.
            new: values of one system, such as one for each prompt; at least one.
            old: values of the other system on the same prompts, in the same order.
        """
        first, second = pairs(new, old)
        return float(np.mean(self.resampled_means(first - second) > margin))

    def _percentiles(self, found: Sequence[float] | Floats) -> tuple[float, float]:
        low, high = np.quantile(found, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return float(low), float(high)

    def resampled_means(self, data: Floats) -> Floats:
        """The mean of every resample of some values, (resamples,).

        Of all data of one length the same items are drawn, so that several measures of the same items are resampled
        together.
        Needs memory for `_CHUNK_ELEMENTS` drawn values at one time.
        """
        at_least_one(self.resamples)
        random = np.random.default_rng(self.seed)

        def chunks() -> Iterator[Floats]:
            rows = max(1, _CHUNK_ELEMENTS // len(data))
            for start in range(0, self.resamples, rows):
                yield _drawn(random, data, min(rows, self.resamples - start)).mean(axis=1)

        return np.concatenate(list(chunks()))


def mean(values: Sequence[float]) -> float:
    """The plain sum over the number of values, of which there is one at least.

    Not `fmean`: another order of additions would change the last digits of numbers that are published already.
    """
    return sum(values) / len(values)


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean of independent values: the sample's standard deviation over the root of n; None of fewer than two."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def told_apart(values: Sequence[float] | Floats) -> bool:
    """Whether values differ by more than rounding; all the same, they tell nothing of how sure their mean is."""
    return len(values) > 0 and float(np.ptp(values)) > _ROUNDING * float(np.abs(values).max())


def paired(new: Values, old: Values) -> list[float]:
    """new - old of every item that both have, in the order of `new`."""
    return [value - old[item] for item, value in new.items() if item in old]


def pairs(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    """Both as arrays of one length."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    return checked(first), checked(second)


def checked(values: Sequence[float] | Floats) -> Floats:
    """An array of finite values, one at least."""
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        raise ValueError("there are no values")
    if not np.all(np.isfinite(data)):
        raise ValueError("values must be finite")
    return data


def at_least_one(number: int) -> None:
    """Refuse 0 and less."""
    if number < 1:
        raise ValueError(f"must be at least 1, not {number}")


def _drawn(random: np.random.Generator, data: Floats, times: int) -> Floats:
    """(times, len(data)) values drawn with replacement."""
    return data[random.integers(len(data), size=(times, len(data)))]
