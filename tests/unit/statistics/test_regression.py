import numpy as np
import pytest
from scipy.stats import linregress

from larpo_lib.statistics.regression import intercept


def test_it_is_that_of_scipy():
    random = np.random.default_rng(3)
    x = random.normal(40, 15, 30)
    y = 0.3 + 0.02 * x + random.normal(0, 0.1, 30)
    assert intercept(y, x) == pytest.approx(linregress(x, y).intercept, rel=1e-12)


def test_a_line_through_two_points_by_hand():
    assert intercept([3.0, 5.0], [1.0, 2.0]) == pytest.approx(1.0)


def test_where_nothing_tells_a_line_there_is_a_mean_or_nothing():
    assert intercept([1.0, 2.0], [0.0, 0.0]) == 1.5
    assert intercept([1.0, 2.0], [0.1 + 0.2, 0.1 + 0.2]) is None
    assert intercept([2.0], [7.0]) is None
