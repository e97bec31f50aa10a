"""Differences of many systems at once, against Tukey's method."""

import numpy as np
import pytest
from scipy.stats import dunnett, studentized_range

from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.statistics.simultaneous import all_differences, differences_from

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


def test_differences_from_one_system_of_independent_normal_values_have_dunnetts_intervals() -> None:
    one, *others = np.random.default_rng(3).normal(size=(7, 400)) + 0.1 * np.arange(7)[:, None]
    found = differences_from("one", {"one": one, **dict(enumerate(others))}, BOOTSTRAP)
    theirs = dunnett(*others, control=one, rng=0).confidence_interval()
    assert [*found] == [*range(6)]
    for i, estimate in found.items():
        assert estimate.value == pytest.approx(one.mean() - others[i].mean())
        half = (theirs.high[i] - theirs.low[i]) / 2
        assert estimate.high == pytest.approx(-theirs.low[i], abs=0.1 * half)
        assert estimate.low == pytest.approx(-theirs.high[i], abs=0.1 * half)


def test_a_system_that_is_lower_by_a_constant_widens_no_interval() -> None:
    values = np.random.default_rng(4).integers(-64, 64, size=(2, 100)) / 32
    both = differences_from(0, {0: values[0], 1: values[1], 2: values[0] - 0.25, 3: values[0]}, BOOTSTRAP)
    alone = differences_from(0, {0: values[0], 1: values[1]}, BOOTSTRAP)
    assert (both[2].low, both[2].high) == (0.25, 0.25)
    assert (both[3].low, both[3].high) == (0.0, 0.0)
    assert (both[1].low, both[1].high) == pytest.approx((alone[1].low, alone[1].high), rel=1e-9)


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
