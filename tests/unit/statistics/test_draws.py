import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.statistics.draws import best_of_n, majority_vote, pass_at_n


@given(st.lists(st.booleans(), min_size=1, max_size=7))
def test_pass_at_n_is_the_share_of_draws_with_a_right_response(correct):
    for n in range(1, len(correct) + 1):
        draws = list(itertools.combinations(correct, n))
        assert pass_at_n(correct, n) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=7))
def test_best_of_n_is_the_mean_best_of_all_draws(rewards):
    for n in range(1, len(rewards) + 1):
        draws = list(itertools.combinations(rewards, n))
        expected = sum(map(max, draws)) / len(draws)
        assert best_of_n(rewards, n) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_pass_at_n_of_very_many():
    assert pass_at_n([True] + [False] * 1999, 1000) == pytest.approx(0.5)


@pytest.mark.parametrize("measure", [pass_at_n, best_of_n])
@pytest.mark.parametrize(("values", "n"), [([True], 2), ([True], 0), ([], 1)])
def test_draws_that_cannot_be_made_are_refused(measure, values, n):
    with pytest.raises(ValueError, match=r"fewer than n|at least 1"):
        measure(values, n)


@pytest.mark.parametrize(
    ("answers", "right", "chance"),
    [
        ([3, 3, 4], 3, 1.0),
        ([3, 3, 4], 4, 0.0),
        ([3, 4], 4, 0.5),
        ([3, 4, 5], 4, 1 / 3),
        ([None, None, 4], 4, 1.0),
        ([None, None], 4, 0.0),
        ([], 4, 0.0),
    ],
)
def test_majority_vote(answers, right, chance):
    assert majority_vote(answers, right) == chance
