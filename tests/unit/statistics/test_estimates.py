"""Intervals and errors: against scipy, the normal distribution and by hand."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from larpo_lib.evaluation.reward_eval.length_control import fit
from larpo_lib.statistics.estimates import UNKNOWN, Bootstrap, Estimate, mean, paired, standard_error

_GROUP = st.lists(st.floats(-10, 10), min_size=1, max_size=20)


def of(resamples, seed=0, confidence=0.95):
    return Bootstrap(confidence, resamples, seed)


def scipys(values, statistic=np.mean, confidence=0.95):
    """Bounds of scipy's percentile interval."""
    found = stats.bootstrap((values,), statistic, confidence_level=confidence, method="percentile", rng=3)
    return found.confidence_interval.low, found.confidence_interval.high


def test_the_interval_of_a_mean_is_near_scipys():
    values = np.random.default_rng(1).exponential(size=80)
    ours = of(20_000, seed=2, confidence=0.9).mean(values)
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(scipys(values, confidence=0.9), abs=0.01)
    assert ours == of(20_000, seed=2, confidence=0.9).mean(values)
    assert ours != of(20_000, seed=3, confidence=0.9).mean(values)


def test_numbers_that_were_published_stay_to_the_last_digit():
    """What the same seeds gave in version 0.1.0; another order of draws or of additions would show here."""
    values = [0.1 * i * i - 0.7 for i in range(9)]
    found = of(100, seed=7).mean_and_error(values)
    assert found.as_mean() == {"mean": 1.5666666666666669, "low": 0.23805555555555574, "high": 3.092499999999997}
    assert found.standard_error == 0.7590198357823801
    groups = of(100, seed=7).mean_of_groups([values, [1.0, 2.5], [0.3]])
    assert groups.as_mean() == {"mean": 1.2055555555555555, "low": 0.3, "high": 2.338518518518518}
    assert of(100, seed=7).probability_above(0.5, values, values[::-1]) == 0.45


@given(st.floats(-10, 10), st.integers(1, 5))
def test_of_one_value_the_interval_is_that_value(value, size):
    found = of(10).mean([value] * size)
    assert [found.value, found.low, found.high] == pytest.approx([value] * 3)


@given(st.floats(-10, 10), st.integers(1, 5))
def test_equal_values_do_not_tell_how_sure_their_mean_is(value, size):
    found = of(10).mean_and_error([value, *[value * (1 + 2e-16)] * (size - 1)])
    assert found == Estimate(pytest.approx(value))
    more = of(10).mean_and_error([value, value + 1])
    assert None not in (more.low, more.high, more.standard_error)


def test_nothing_is_known_of_no_items():
    assert of(10).mean([]) == of(10).mean_and_error([]) == of(10).mean_of_groups([[1.0], []]) == UNKNOWN
    assert of(10).interval(3, lambda _: None) == UNKNOWN


def test_memory_is_bounded():
    values = np.arange(20_000.0)
    tracemalloc.start()
    found = of(500, seed=5).mean(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6  # all 10 million draws at one time take 160 MB
    error = values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.4 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.4 * error)


@given(st.lists(_GROUP, min_size=1, max_size=4))
@settings(max_examples=50)
def test_the_mean_of_groups_is_that_of_their_means_and_lies_in_reach_of_the_values(groups):
    found = of(200).mean_of_groups(groups)
    assert found.value == pytest.approx(np.mean([np.mean(group) for group in groups]))
    smallest, largest = min(map(min, groups)), max(map(max, groups))
    assert smallest - 1e-9 <= found.low <= found.high <= largest + 1e-9


def test_one_group_has_the_interval_of_the_ordinary_bootstrap():
    data = np.random.default_rng(0).normal(size=400)
    found = of(4000).mean_of_groups([data.tolist()])
    assert (found.low, found.high) == pytest.approx(scipys(data), abs=0.01)


def test_groups_that_differ_widen_the_interval():
    alike = of(2000).mean_of_groups([[0.0, 1.0] * 50] * 3)
    apart = of(2000).mean_of_groups([[0.0] * 100, [0.5] * 100, [1.0] * 100])
    assert alike.value == apart.value == 0.5
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_a_group_that_is_drawn_twice_has_the_same_values_both_times():
    """By hand: the mean is 0 if the first group is drawn twice (1/4) and its 0 twice (1/4); 1/64 if drawn anew."""
    assert of(4000).mean_of_groups([[0.0, 2.0], [1.0]]).as_mean() == {"mean": 1.0, "low": 0.0, "high": 2.0}
    assert of(4000, confidence=0.8).mean_of_groups([[0.0, 2.0], [1.0]]).low == 0.5  # 1/16 is less than a tenth


def test_groups_that_are_alike_have_intervals_that_are_wider_than_a_nested_bootstraps_by_the_stated_factor():
    data = np.random.default_rng(9).normal(size=(5, 50))
    data -= data.mean(axis=1, keepdims=True) - np.linspace(-0.1, 0.1, 5)[:, None]
    found = of(8000).mean_of_groups(data.tolist())
    between, within = data.mean(axis=1).var(), (data.var(axis=1) / 50).mean()
    half = stats.norm.ppf(0.975) * math.sqrt((between + (2 - 1 / 5) * within) / 5)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.04)
    random, resampled = np.random.default_rng(1), []
    for _ in range(8000):
        drawn = [data[group][random.integers(50, size=50)].mean() for group in random.integers(5, size=5)]
        resampled.append(np.mean(drawn))
    nested = np.quantile(resampled, [0.025, 0.975])
    factor = math.sqrt((between + (2 - 1 / 5) * within) / (between + within))
    assert (found.high - found.low) / (nested[1] - nested[0]) == pytest.approx(factor, rel=0.05)
    assert 1.1 < factor < math.sqrt(2 - 1 / 5)


def test_the_interval_of_any_statistic_is_near_scipys():
    data = np.random.default_rng(4).normal(size=200)
    found = of(4000).interval(len(data), lambda drawn: float(np.median(data[drawn])))
    assert (found.low, found.high) == pytest.approx(scipys(data, np.median), abs=0.03)


def test_resamples_on_which_a_statistic_is_not_defined_are_left_out():
    """A fit has nothing to tell length from quality by where all drawn lengths are alike."""
    preferred, longer = np.array([1.0, 0.0, 1.0]), np.array([5.0, 5.0, -3.0])

    def rate(drawn):
        model = fit(preferred[drawn], longer[drawn])
        return None if model is None else model.win_rate

    found = of(200).interval(3, rate)
    assert 0.0 <= found.low < found.high <= 1.0


def test_the_probability_of_a_margin_follows_the_normal_distribution():
    random = np.random.default_rng(7)
    old = random.normal(size=400)
    new = old + random.normal(0.1, 1.0, size=400)
    difference = new - old
    error = difference.std() / math.sqrt(400)
    for margin in (0.0, 0.05, 0.2):
        expected = stats.norm.sf((margin - difference.mean()) / error)
        assert of(20_000, seed=1).probability_above(margin, new, old) == pytest.approx(expected, abs=0.015)
    assert of(100).probability_above(0.5, [2, 3], [1, 1]) == 1.0
    assert of(100).probability_above(0.0, [1, 1], [1, 1]) == 0.0


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_the_standard_error_is_scipys(values):
    assert standard_error(values) == pytest.approx(stats.sem(values), rel=1e-6, abs=1e-9)
    assert standard_error(values[:1]) is None


def test_pairs_are_of_the_items_that_both_have():
    assert paired({"a": 1.0, "b": 2.0, "c": 5.0}, {"c": 1.0, "a": 3.0}) == [-2.0, 4.0]
    assert mean([1.0, 2.0, 4.5]) == 2.5
    assert Estimate(1.0, 0.0, 2.0, 0.5).as_mean() == {"mean": 1.0, "low": 0.0, "high": 2.0}


@pytest.mark.parametrize(
    "call",
    [
        lambda: of(10).probability_above(0.0, [1], [1, 2]),
        lambda: of(10).mean([float("nan")]),
        lambda: of(0).mean([1.0]),
        lambda: of(10).probability_above(0.0, [], []),
    ],
)
def test_arguments_that_make_no_sense_are_refused(call):
    with pytest.raises(ValueError, match=r"paired|no values|finite|at least 1"):
        call()
