import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import ndcg_score

from larpo_lib import metrics

flags = st.lists(st.booleans(), min_size=1, max_size=7)
numbers = st.floats(-1e6, 1e6)


@given(flags)
def test_pass_at_n_is_the_share_of_draws_with_a_right_response(correct):
    for n in range(1, len(correct) + 1):
        draws = list(itertools.combinations(correct, n))
        assert metrics.pass_at_n([correct], n) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(st.lists(numbers, min_size=1, max_size=7))
def test_best_of_n_is_the_mean_best_of_all_draws(rewards):
    for n in range(1, len(rewards) + 1):
        draws = list(itertools.combinations(rewards, n))
        expected = sum(map(max, draws)) / len(draws)
        assert metrics.best_of_n([rewards], n) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_pass_at_n_averages_over_prompts():
    correct = [[True, False, False], [False, False, False, False], [True, True]]
    assert metrics.pass_at_n(correct, 1) == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert metrics.pass_at_n(correct, 2) == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert metrics.pass_at_n([[True] + [False] * 1999], 1000) == pytest.approx(0.5)


@pytest.mark.parametrize("measure", [metrics.pass_at_n, metrics.best_of_n])
@pytest.mark.parametrize(("values", "n"), [([[True, False], [True]], 2), ([[True]], 0), ([], 1)])
def test_draws_that_cannot_be_made_are_refused(measure, values, n):
    with pytest.raises(ValueError, match=r"n = 2|at least 1|no values"):
        measure(values, n)


def test_recall_at_n_by_hand():
    relevant = [[True, False, True, True], [False, False], [False, True]]
    assert metrics.recall_at_n(relevant, 1) == pytest.approx((1 / 3 + 0) / 2)
    assert metrics.recall_at_n(relevant, 3) == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.recall_at_n(relevant, 9) == 1.0
    assert metrics.recall_at_n([[False, False]], 1) is None


def test_ndcg_by_hand():
    assert metrics.ndcg([[0, 1]]) == pytest.approx(1 / math.log2(3))
    assert metrics.ndcg([[3, 2], [0, 1], [0, 0]]) == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert metrics.ndcg([[0, 0]]) is None
    assert metrics.ndcg([[0, 5, 1]], n=1) == 0.0
    with pytest.raises(ValueError, match="not negative"):
        metrics.ndcg([[1, -1]])


@given(st.lists(st.integers(0, 4), min_size=2, max_size=9).filter(any), st.integers(1, 9))
def test_ndcg_is_sklearns(gains, n):
    scores = [list(range(len(gains), 0, -1))]
    assert metrics.ndcg([gains]) == pytest.approx(ndcg_score([gains], scores))
    assert metrics.ndcg([gains], n) == pytest.approx(ndcg_score([gains], scores, k=n))


def test_mrr_by_hand():
    assert metrics.mrr([[False, True, True], [True], [False, False]]) == pytest.approx((1 / 2 + 1 + 0) / 3)


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2) | numbers), min_size=2, max_size=30))
def test_kendall_tau_is_scipys_tau_b(pairs):
    x, y = zip(*pairs, strict=True)
    expected = stats.kendalltau(x, y).statistic
    tau = metrics.kendall_tau(x, y)
    assert (tau is None) == math.isnan(expected)
    if tau is not None:
        assert tau == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2) | numbers), min_size=2, max_size=30))
def test_spearman_is_scipys(pairs):
    x, y = zip(*pairs, strict=True)
    found = metrics.spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)


def test_win_rate_counts_ties_half():
    assert metrics.win_rate([1, 2, 3, 4], [0, 2, 4, 1]) == 0.625


def test_distinct_share():
    assert metrics.distinct_share(["a", "b", "a", "a"]) == 0.5
    with pytest.raises(ValueError, match="no responses"):
        metrics.distinct_share([])


def test_duplicate_share_by_hand():
    assert metrics.duplicate_share(["aab"]) == 2 / 3
    assert metrics.duplicate_share([["x", "x"], ["y", "z"], ["x"]]) == 2 / 4  # nothing stands beside the lone x
    assert metrics.duplicate_share([["x"] * 2]) == metrics.duplicate_share([["x"] * 9]) == 1.0
    assert metrics.duplicate_share([["x"], []]) is None


@given(st.lists(st.integers(0, 3), max_size=8))
def test_repeated_counts_who_has_a_twin(values):
    twins = sum(any(values[i] == values[j] for j in range(len(values)) if j != i) for i in range(len(values)))
    assert metrics.repeated(values) == twins


def test_distinct_n_by_hand():
    sequences = [["a", "b", "a", "b"], ["a", "b"], ["c"]]
    assert metrics.ngram_counts(sequences, 2) == (2, 4)  # ab ba ab, ab; none spans two sequences
    assert metrics.distinct_n(sequences, 1) == 3 / 7
    assert metrics.distinct_n(sequences, 2) == 2 / 4
    assert metrics.distinct_n(sequences, 4) == 1.0
    assert metrics.distinct_n(sequences, 5) is None
    with pytest.raises(ValueError, match="at least 1"):
        metrics.distinct_n(sequences, 0)


@given(st.lists(st.text("ab", max_size=5), max_size=4), st.integers(1, 3))
def test_distinct_n_of_words_again_and_again(sequences, n):
    share = metrics.distinct_n(sequences, n)
    if share is None:
        assert all(len(one) < n for one in sequences)
    else:
        assert 0 < share <= 1
        assert metrics.distinct_n(sequences * 3, n) == pytest.approx(share / 3)


def test_bootstrap_mean_is_near_scipys_percentile_interval():
    values = np.random.default_rng(1).exponential(size=80)
    ours = metrics.bootstrap_mean(values, 0.9, 20_000, seed=2)
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=20_000, method="percentile", rng=3
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)
    assert ours == metrics.bootstrap_mean(values, 0.9, 20_000, seed=2)
    assert ours != metrics.bootstrap_mean(values, 0.9, 20_000, seed=3)


@given(st.floats(-10, 10), st.integers(1, 5))
def test_bootstrap_of_one_value_is_that_value(value, size):
    assert metrics.bootstrap_mean([value] * size, 0.95, 10, seed=0) == pytest.approx((value, value, value))


def test_bootstrap_memory_is_bounded():
    values = np.arange(20_000.0)
    tracemalloc.start()
    interval = metrics.bootstrap_mean(values, 0.95, 500, seed=5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6  # all 10 million draws at one time take 160 MB
    error = values.std() / math.sqrt(len(values))
    assert interval.low == pytest.approx(interval.mean - 1.96 * error, abs=0.4 * error)
    assert interval.high == pytest.approx(interval.mean + 1.96 * error, abs=0.4 * error)


def test_paired_bootstrap_follows_the_normal_distribution():
    random = np.random.default_rng(7)
    old = random.normal(size=400)
    new = old + random.normal(0.1, 1.0, size=400)
    difference = new - old
    error = difference.std() / math.sqrt(400)
    for margin in (0.0, 0.05, 0.2):
        expected = stats.norm.sf((margin - difference.mean()) / error)
        assert metrics.paired_bootstrap(new, old, margin, 20_000, seed=1) == pytest.approx(expected, abs=0.015)


def test_paired_bootstrap_at_the_ends():
    assert metrics.paired_bootstrap([2, 3], [1, 1], 0.5, 100, seed=0) == 1.0
    assert metrics.paired_bootstrap([1, 1], [1, 1], 0.0, 100, seed=0) == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.win_rate([1], [1, 2]),
        lambda: metrics.spearman([1], [1, 2]),
        lambda: metrics.bootstrap_mean([], 0.95, 10, 0),
        lambda: metrics.bootstrap_mean([float("nan")], 0.95, 10, 0),
        lambda: metrics.bootstrap_mean([1.0], 0.95, 0, 0),
        lambda: metrics.recall_at_n([[True]], 0),
    ],
)
def test_arguments_that_make_no_sense_are_refused(call):
    with pytest.raises(ValueError, match=r"paired|no values|finite|at least 1"):
        call()
