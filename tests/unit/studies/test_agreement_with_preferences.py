"""How scores order judged responses, by hand."""

import math

import pytest

from larpo_lib.studies.preferences.agreement import MEASURES, Judged, agreement, model_means, similar


def test_similar_lengths_differ_by_a_tenth_of_the_longer_one() -> None:
    assert similar(90, 100)
    assert similar(100, 90)
    assert not similar(89, 100)
    assert similar(0, 0)


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
