"""Agreement of scores with preferences: by hand, against scikit-learn, and against a regression."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from larpo_lib.evaluation.preferences import (
    MEASURES,
    Judged,
    agreement,
    model_means,
    ndcg_of_scores,
    pair_accuracy,
    partial_kendall_tau,
    similar,
)

_VALUES = st.integers(0, 6)
_TRIPLES = st.lists(st.tuples(_VALUES, _VALUES, _VALUES), min_size=3, max_size=9)


def test_pair_accuracy_by_hand() -> None:
    # (0,1) right, (0,2) of tied scores, (1,2) wrong, (0,3) right, (1,3) right; (2,3) has equal preferences.
    scores, preferences = [3.0, 2.0, 3.0, 1.0], [0.9, 0.5, 0.1, 0.1]
    assert pair_accuracy(scores, preferences) == pytest.approx((1 + 0.5 + 0 + 1 + 1) / 5)
    assert pair_accuracy(scores, preferences, lambda i, j: (i, j) == (1, 2)) == 0.0
    assert pair_accuracy(scores, preferences, lambda i, j: (i, j) == (2, 3)) is None
    assert pair_accuracy(scores, [0.5] * 4) is None


def test_similar_lengths_differ_by_a_tenth_of_the_longer_one() -> None:
    assert similar(90, 100)
    assert similar(100, 90)
    assert not similar(89, 100)
    assert similar(0, 0)


def test_partial_tau_by_hand() -> None:
    # x, y and z order 6 pairs; t_xy = 4/6, t_xz = 2/6, t_yz = 0.
    x, y, z = [1, 2, 3, 4], [1, 2, 4, 3], [2, 3, 1, 4]
    signs = [[math.copysign(1, v[j] - v[i]) for i, j in combinations(range(4), 2)] for v in (x, y, z)]
    xy, xz, yz = (sum(a * b for a, b in zip(signs[i], signs[j], strict=True)) / 6 for i, j in ((0, 1), (0, 2), (1, 2)))
    assert (xy, xz, yz) == pytest.approx((4 / 6, 2 / 6, 0))
    assert partial_kendall_tau(x, y, z) == pytest.approx((4 / 6) / math.sqrt(8 / 9))


def test_partial_tau_where_nothing_is_left_to_explain() -> None:
    x, y = [1, 2, 3, 4], [1, 2, 4, 3]
    assert partial_kendall_tau(x, y, [10, 20, 30, 40]) is None
    assert partial_kendall_tau(x, y, [4, 3, 2, 1]) is None
    assert partial_kendall_tau(x, y, y) is None
    assert partial_kendall_tau([1, 1, 1, 1], y, x) is None
    assert partial_kendall_tau(x, y, [7, 7, 7, 7]) == pytest.approx(4 / 6)


@given(_TRIPLES)
def test_partial_tau_is_the_partial_correlation_of_the_signs_of_pairs(rows: list[tuple[int, int, int]]) -> None:
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


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=2, max_size=9))
def test_ndcg_is_that_of_scikit_learn_with_ties(rows: list[tuple[int, int]]) -> None:
    scores, gains = [float(a) for a, _ in rows], [b / 5 for _, b in rows]
    if not any(gains):
        assert ndcg_of_scores(scores, gains) is None
    else:
        assert ndcg_of_scores(scores, gains) == pytest.approx(ndcg_score([gains], [scores]))


def test_model_means_are_over_all_lists() -> None:
    lists = [[Judged(0.9, 10, "a"), Judged(0.1, 10, "b")], [Judged(0.5, 10, "a")]]
    assert model_means(lists) == pytest.approx({"a": 0.7, "b": 0.1})


def test_scores_that_are_the_length_are_undefined_given_length() -> None:
    group = [Judged(0.9, 300, "a"), Judged(0.8, 100, "b"), Judged(0.1, 105, "c")]
    means = {"a": 0.5, "b": 0.2, "c": 0.3}
    found = agreement([300.0, 100.0, 105.0], group, means)
    assert set(found) == set(MEASURES)
    assert found["kendall_tau"] == pytest.approx(1 / 3)  # right on a-b and a-c, wrong on b-c
    assert found["pair_accuracy"] == pytest.approx(2 / 3)
    assert found["pair_accuracy_similar_length"] == 0.0  # b and c alone are of similar length
    assert found["kendall_tau_given_length"] is None
    assert found["kendall_tau_given_model"] is None  # models have the order of lengths here


def test_equal_scores_are_a_random_order() -> None:
    group = [Judged(1.0, 10, "a"), Judged(0.0, 99, "b")]
    found = agreement([0.0, 0.0], group, {"a": 0.5, "b": 0.5})
    assert found["kendall_tau"] is None
    assert found["pair_accuracy"] == 0.5
    assert found["ndcg"] == pytest.approx((1 + 1 / math.log2(3)) / 2)  # either order with probability one half
