"""Tests of paired differences, against exact enumeration, scipy and the normal distribution; Holm's by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.statistics.paired_tests import gain_above, holm

BOOTSTRAP = Bootstrap(confidence=0.95, resamples=20_000, seed=0)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        # .005 * 4, .01 * 3, .03 * 2, and .04 * 1, which is below the one before it
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.003, 0.32, 0.054, 0.0003], [0.64, 0.012, 0.64, 0.162, 0.0015]),  # as in the manual of pingouin
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.9, 0.6], [1.0, 1.0]),
        ([0.04], [0.04]),
        ([], []),
    ],
)
def test_holms_adjusted_values_are_those_worked_out_by_hand_and_by_others(
    p_values: list[float], adjusted: list[float]
) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_what_is_rejected_is_what_holms_own_procedure_rejects(p_values: list[float], level: float) -> None:
    """Holm 1979: go through the sorted p-values, the i-th against level / (m - i + 1), and stop at the first above."""
    rejected = set()
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - place) > level:
            break
        rejected.add(index)
    assert {index for index, value in enumerate(holm(p_values)) if value <= level} == rejected


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.25, 0.5])
def test_the_p_value_is_the_share_of_all_resamples_that_do_not_exceed_the_threshold(threshold: float) -> None:
    new, old = [1.0, 2.0, 0.5, 1.0, 0.0], [0.0, 1.0, 0.0, 2.0, 0.5]  # gains 1, 1, .5, -1, -.5
    gains = np.array(new) - np.array(old)
    exact = np.mean([gains[list(drawn)].mean() <= threshold for drawn in product(range(5), repeat=5)])
    assert gain_above(threshold, new, old, BOOTSTRAP).p_value == pytest.approx(exact, abs=0.012)


def test_p_value_and_interval_are_those_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(1)
    old = rng.normal(size=80)
    new = old + rng.normal(0.2, 1.0, size=80)
    found = gain_above(-0.05, new.tolist(), old.tolist(), BOOTSTRAP)
    theirs = stats.bootstrap(
        (new - old,),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        alternative="greater",
        rng=np.random.default_rng(2),
    )
    assert found.p_value == pytest.approx(np.mean(theirs.bootstrap_distribution <= -0.05), abs=0.005)
    assert found.gain.low == pytest.approx(theirs.confidence_interval.low, abs=0.01)
    assert found.gain.value == pytest.approx(np.mean(new - old))


@pytest.mark.parametrize("threshold", [0.0, -0.1, 0.05])
def test_of_many_items_the_p_value_is_that_of_the_normal_distribution(threshold: float) -> None:
    rng = np.random.default_rng(3)
    gains = rng.normal(0.1, 1.0, size=400)
    expected = stats.norm.sf((gains.mean() - threshold) / (gains.std() / 20))
    found = gain_above(threshold, gains.tolist(), [0.0] * 400, BOOTSTRAP)
    assert found.p_value == pytest.approx(expected, abs=0.01)


def test_where_lower_is_better_a_gain_is_a_decrease() -> None:
    new, old = [10.0, 12.0, 9.0, 11.0], [20.0, 21.0, 20.0, 23.0]
    shorter = gain_above(5.0, new, old, BOOTSTRAP, lower_is_better=True)
    assert (shorter.gain.value, shorter.p_value) == (10.5, 1 / 20_001)
    longer = gain_above(-5.0, old, new, BOOTSTRAP, lower_is_better=True)
    assert (longer.gain.value, longer.p_value) == (-10.5, 1.0)


def test_of_equal_policies_no_gain_is_shown_and_every_loss_is_excluded() -> None:
    same = [0.0, 1.0, 1.0, 0.0]
    assert gain_above(0.0, same, same, BOOTSTRAP).p_value == 1.0
    assert gain_above(-0.01, same, same, BOOTSTRAP).p_value == 1 / 20_001


def test_under_the_null_hypothesis_a_true_one_is_rejected_about_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(4)
    bootstrap = Bootstrap(0.95, 200, 0)
    found = [gain_above(-0.2, rng.normal(-0.2, 1.0, 60).tolist(), [0.0] * 60, bootstrap).p_value for _ in range(400)]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)
