"""Tests of paired differences, against exact tests of scipy and the normal distribution; Holm's by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.statistics.paired_tests import LEAST_ITEMS, gain_above, holm

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


def right_or_wrong(won: int, lost: int, items: int) -> tuple[list[float], list[float]]:
    """What each was before and after; half of those that did not change are right."""
    same = [float(number % 2) for number in range(items - won - lost)]
    return [1.0] * won + [0.0] * lost + same, [0.0] * won + [1.0] * lost + same


@pytest.mark.parametrize(
    ("lost", "items", "margin"),
    [(0, 5, 0.01), (0, 298, 0.01), (0, 500, 0.01), (1, 20, 0.2), (3, 40, 0.15), (2, 200, 0.05), (10, 12, 0.9)],
)
def test_of_losses_alone_the_p_value_is_that_of_the_exact_binomial_test(lost: int, items: int, margin: float) -> None:
    """Clopper and Pearson 1934: of so many items, no more are lost than were; unchanged ones alone: (1 - margin)^n."""
    expected = stats.binomtest(lost, items, margin, alternative="less").pvalue
    found = gain_above(-margin, *right_or_wrong(0, lost, items), BOOTSTRAP, scale=1.0)
    assert found.p_value == pytest.approx(expected, abs=0.01)
    highest_loss = stats.binomtest(lost, items).proportion_ci(0.9, "exact").high
    assert found.gain.low == pytest.approx(-highest_loss, abs=0.01)


def test_few_items_that_did_not_change_prove_nothing_and_many_do_whatever_their_unit() -> None:
    """The rule of three: n unchanged items exclude losses of more than about 3 / n."""
    bootstrap = Bootstrap(0.95, 2000, 0)
    for unit in (1.0, 100.0):
        for value in (0.0, unit):  # all wrong, or all right
            p_values = [
                gain_above(-0.01 * unit, [value] * items, [value] * items, bootstrap, scale=unit).p_value
                for items in (5, 40, 500)
            ]
            assert p_values == pytest.approx([0.99**items for items in (5, 40, 500)], abs=0.03)
            assert p_values[1] > 0.05 > p_values[-1]


@pytest.mark.parametrize("items", [1, 2, 4, 5, 10])
def test_of_equal_gains_the_p_value_is_that_of_the_sign_test(items: int) -> None:
    found = gain_above(0.0, [1.0] * items, [0.9] * items, BOOTSTRAP)
    assert found.p_value == pytest.approx(stats.binomtest(items, items, 0.5, alternative="greater").pvalue, abs=0.01)
    assert (found.p_value < 0.05) == (items >= LEAST_ITEMS)
    lost = gain_above(-0.2, [0.9] * items, [1.0] * items, BOOTSTRAP)  # a loss of less than 0.2, each time
    assert lost.p_value == pytest.approx(0.5**items, abs=0.01)


def test_of_gains_and_equal_losses_it_is_the_sign_test_too() -> None:
    found = gain_above(0.0, [1.0] * 26 + [0.0] * 14, [0.0] * 26 + [1.0] * 14, BOOTSTRAP)
    assert found.p_value == pytest.approx(stats.binomtest(26, 40, 0.5, alternative="greater").pvalue, abs=0.005)


@pytest.mark.parametrize("threshold", [0.0, -0.1, 0.05])
def test_of_many_items_the_p_value_is_that_of_the_normal_distribution(threshold: float) -> None:
    rng = np.random.default_rng(3)
    gains = rng.normal(0.1, 1.0, size=4000)
    expected = stats.norm.sf((gains.mean() - threshold) / (gains.std() / 4000**0.5))
    found = gain_above(threshold, gains.tolist(), [0.0] * 4000, Bootstrap(0.95, 2000, 0))
    assert found.p_value == pytest.approx(expected, abs=0.03)
    assert found.gain.value == pytest.approx(gains.mean())
    assert found.gain.low == pytest.approx(gains.mean() - 1.645 / 4000**0.5, abs=0.003)
    assert found.gain.high == pytest.approx(gains.mean() + 1.645 / 4000**0.5, abs=0.003)


def test_where_lower_is_better_a_gain_is_a_decrease() -> None:
    new, old = [10.0, 12.0, 9.0, 11.0] * 5, [20.0, 21.0, 20.0, 23.0] * 5
    shorter = gain_above(1.0, new, old, BOOTSTRAP, lower_is_better=True)
    assert (shorter.gain.value, shorter.p_value < 0.001) == (10.5, True)
    longer = gain_above(-5.0, old, new, BOOTSTRAP, lower_is_better=True)
    assert (longer.gain.value, longer.p_value) == (-10.5, 1.0)


def test_a_gain_of_just_the_threshold_is_not_more_whatever_rounding_makes_of_it() -> None:
    assert 1.1 - 1.0 > 0.1
    assert gain_above(0.1, [1.1] * 200, [1.0] * 200, BOOTSTRAP).p_value == 1.0
    assert gain_above(-0.1, [1.0] * 200, [1.1] * 200, BOOTSTRAP, scale=1.0).p_value == 1.0
    assert gain_above(0.099, [1.1] * 2000, [1.0] * 2000, Bootstrap(0.95, 200, 0)).p_value < 0.05


@pytest.mark.parametrize("items", [5, 10, 20, 60])
def test_under_the_null_hypothesis_a_true_one_is_rejected_no_more_often_than_the_level_says(items: int) -> None:
    """The percentile bootstrap rejected 79 % of the last kind with 5 items, and 12 % of the first."""
    rng = np.random.default_rng(4)
    bootstrap = Bootstrap(0.95, 200, 0)
    drawn = (
        lambda: rng.normal(-0.2, 1.0, items),
        lambda: rng.choice([-1.0, 0.0, 1.0], items, p=[0.3, 0.6, 0.1]),
        lambda: -1.0 * (rng.random(items) < 0.2),
    )
    for draw in drawn:
        found = [gain_above(-0.2, draw().tolist(), [0.0] * items, bootstrap, scale=1.0).p_value for _ in range(300)]
        assert np.mean(np.array(found) <= 0.05) <= 0.07
