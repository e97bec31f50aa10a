"""Agreement of orders: by hand, against scipy and scikit-learn, and against a regression."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import ndcg_score

from larpo_lib.statistics.ranking import kendall_tau, ndcg, pair_accuracy, partial_kendall_tau, recall_at_n, spearman

_VALUES = st.integers(0, 6)
_TRIPLES = st.lists(st.tuples(_VALUES, _VALUES, _VALUES), min_size=3, max_size=9)
_NUMBERS = st.floats(-1e6, 1e6)


def test_recall_at_n_by_hand():
    relevant = [True, False, True, True]
    assert [recall_at_n(relevant, n) for n in (1, 3, 9)] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert recall_at_n([False, False], 1) is None
    with pytest.raises(ValueError, match="at least 1"):
        recall_at_n([True], 0)


def test_ndcg_by_hand():
    assert ndcg([2, 1], [0, 1]) == pytest.approx(1 / math.log2(3))
    assert ndcg([1, 2], [0, 1]) == 1.0
    assert ndcg([1, 1], [0, 1]) == pytest.approx((1 + 1 / math.log2(3)) / 2)  # either order with probability one half
    assert ndcg([2, 1], [0, 0]) is None
    with pytest.raises(ValueError, match="not negative"):
        ndcg([2, 1], [1, -1])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=2, max_size=9))
def test_ndcg_is_that_of_scikit_learn_with_ties(rows: list[tuple[int, int]]):
    scores, gains = [float(a) for a, _ in rows], [b / 5 for _, b in rows]
    if not any(gains):
        assert ndcg(scores, gains) is None
    else:
        assert ndcg(scores, gains) == pytest.approx(ndcg_score([gains], [scores]))


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2) | _NUMBERS), min_size=2, max_size=30))
def test_kendall_tau_is_scipys_tau_b(pairs):
    x, y = zip(*pairs, strict=True)
    expected = stats.kendalltau(x, y).statistic
    tau = kendall_tau(x, y)
    assert (tau is None) == math.isnan(expected)
    if tau is not None:
        assert tau == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2) | _NUMBERS), min_size=2, max_size=30))
def test_spearman_is_scipys(pairs):
    x, y = zip(*pairs, strict=True)
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)


def test_pair_accuracy_by_hand():
    # (0,1) right, (0,2) of tied scores, (1,2) wrong, (0,3) right, (1,3) right; (2,3) has equal preferences.
    scores, preferences = [3.0, 2.0, 3.0, 1.0], [0.9, 0.5, 0.1, 0.1]
    assert pair_accuracy(scores, preferences) == pytest.approx((1 + 0.5 + 0 + 1 + 1) / 5)
    assert pair_accuracy(scores, preferences, lambda i, j: (i, j) == (1, 2)) == 0.0
    assert pair_accuracy(scores, preferences, lambda i, j: (i, j) == (2, 3)) is None
    assert pair_accuracy(scores, [0.5] * 4) is None


def test_partial_tau_by_hand():
    # x, y and z order 6 pairs; t_xy = 4/6, t_xz = 2/6, t_yz = 0.
    x, y, z = [1, 2, 3, 4], [1, 2, 4, 3], [2, 3, 1, 4]
    signs = [[math.copysign(1, v[j] - v[i]) for i, j in combinations(range(4), 2)] for v in (x, y, z)]
    xy, xz, yz = (sum(a * b for a, b in zip(signs[i], signs[j], strict=True)) / 6 for i, j in ((0, 1), (0, 2), (1, 2)))
    assert (xy, xz, yz) == pytest.approx((4 / 6, 2 / 6, 0))
    assert partial_kendall_tau(x, y, z) == pytest.approx((4 / 6) / math.sqrt(8 / 9))


def test_partial_tau_where_nothing_is_left_to_explain():
    x, y = [1, 2, 3, 4], [1, 2, 4, 3]
    assert partial_kendall_tau(x, y, [10, 20, 30, 40]) is None
    assert partial_kendall_tau(x, y, [4, 3, 2, 1]) is None
    assert partial_kendall_tau(x, y, y) is None
    assert partial_kendall_tau([1, 1, 1, 1], y, x) is None
    assert partial_kendall_tau(x, y, [7, 7, 7, 7]) == pytest.approx(4 / 6)


@given(_TRIPLES)
def test_partial_tau_is_the_partial_correlation_of_the_signs_of_pairs(rows: list[tuple[int, int, int]]):
    """By regression: what is left of the signs of x and y when those of z are projected out, without a mean."""
    signs = np.array([np.sign(np.subtract(b, a)) for a, b in combinations(rows, 2)], dtype=float)
    x, y, z = signs.T
    found = partial_kendall_tau(*(list(column) for column in zip(*rows, strict=True)))
    if not (x.any() and y.any() and z.any()):
        assert found is None or not z.any()
        return
    left, right = x - z * (x @ z) / (z @ z), y - z * (y @ z) / (z @ z)
    if min(left @ left / (x @ x), right @ right / (y @ y)) < 1e-9:
        assert found is None
    else:
        assert found == pytest.approx((left @ right) / math.sqrt((left @ left) * (right @ right)), abs=1e-7)
