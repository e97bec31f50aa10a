"""Differences of many systems at once, against Tukey's method."""

import numpy as np
import pytest
from scipy.stats import studentized_range

from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.statistics.simultaneous import all_differences

BOOTSTRAP = Bootstrap(confidence=0.95, resamples=1000, seed=0)


def test_of_independent_normal_values_intervals_are_tukeys() -> None:
    count, items = 6, 500
    values = np.random.default_rng(1).normal(size=(count, items))
    found = all_differences({f"s{i}": [one.tolist()] for i, one in enumerate(values)}, BOOTSTRAP)
    assert len(found) == count * (count - 1)
    for (first, second), one in found.items():
        a, b = values[int(first[1])], values[int(second[1])]
        assert one.value == pytest.approx(a.mean() - b.mean())
        assert one.high is not None
        assert one.low is not None
        half = studentized_range.ppf(0.95, count, np.inf) / np.sqrt(2) * np.sqrt((a.var() + b.var()) / items)
        assert (one.high - one.low) / 2 == pytest.approx(half, rel=0.1)
        assert found[second, first].high == pytest.approx(-one.low)


def test_of_two_systems_the_interval_is_that_of_their_paired_difference() -> None:
    random = np.random.default_rng(2)
    groups = [random.normal(size=200) for _ in range(3)]
    better = [group + 0.5 + 0.1 * random.normal(size=200) for group in groups]
    found = all_differences({"a": better, "b": groups}, BOOTSTRAP)["a", "b"]
    alone = BOOTSTRAP.mean_of_groups([(new - old).tolist() for new, old in zip(better, groups, strict=True)])
    assert found.value == pytest.approx(alone.value)
    assert found.low == pytest.approx(alone.low, abs=0.004)
    assert found.high == pytest.approx(alone.high, abs=0.004)


def test_equal_systems_do_not_differ() -> None:
    found = all_differences({"a": [[0.0, 1.0]], "b": [[0.0, 1.0]], "c": [[1.0, 1.0]]}, BOOTSTRAP)
    assert (found["a", "b"].low, found["a", "b"].high) == (0.0, 0.0)
    assert found["c", "a"].value == 0.5
