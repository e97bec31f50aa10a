"""Means over items with their uncertainty, as scores and as curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from larpo_lib.metrics import Interval, bootstrap_mean
from larpo_lib.reporting.evaluation import Curve, Score

Values = Mapping[str, float]
"""Item to value."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: by resampling items with replacement.

    Attributes:
        confidence: probability that an interval is to hold.
        resamples: how often all items are drawn.
        seed: decides the draws.
    """

    confidence: float
    resamples: int
    seed: int

    def interval(self, values: Sequence[float]) -> Interval:
        """Mean and interval of at least one value."""
        return bootstrap_mean(values, self.confidence, self.resamples, self.seed)


def mean_score(name: str, label: str, values: Values, unit: str, meaning: str, bootstrap: Bootstrap) -> Score:
    """The mean over items, with its bootstrap interval and standard error; not defined without items."""
    if not values:
        return Score(name, label, None, unit, meaning)
    mean, low, high = bootstrap.interval(list(values.values()))
    error = stdev(values.values()) / math.sqrt(len(values)) if len(values) > 1 else None
    return Score(name, label, mean, unit, meaning, low, high, error)


def mean_curve(title: str, x_label: str, name: str, by_n: Mapping[int, Values], bootstrap: Bootstrap) -> Curve:
    """The mean over items at each N that has any, with bootstrap intervals."""
    points = [(n, bootstrap.interval(list(values.values()))) for n, values in sorted(by_n.items()) if values]
    return Curve(
        title,
        x_label,
        name,
        [n for n, _ in points],
        [point.mean for _, point in points],
        [point.low for _, point in points],
        [point.high for _, point in points],
    )
