import statistics

import pytest
from candidate_rows import candidates
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.candidates.ranking import best_first
from larpo_lib.candidates.selections.sigma import SigmaConfig

# Mean .15, population standard deviation 1.637834: the aims are -3.126 and -1.488.
TEN = (2.1, 1.4, 1.2, 0.9, 0.8, 0.5, 0.1, -0.3, -1.2, -4.0)


def _chosen(rewards, **settings):
    ordered = best_first(candidates("p0", {f"response {i}": reward for i, reward in enumerate(rewards)}))
    return [row["reward"] for row in SigmaConfig(**settings).select(ordered)]


@pytest.mark.parametrize(("deviations", "worse"), [(2.0, -4.0), (1.0, -1.2), (0.0, 0.1), (-1.0, 1.4), (-5.0, 1.4)])
def test_the_worse_response_is_nearest_to_so_many_deviations_below_the_mean(deviations, worse):
    assert (statistics.fmean(TEN), statistics.pstdev(TEN)) == pytest.approx((0.15, 1.637834), abs=6e-7)
    assert _chosen(TEN, deviations=deviations) == [2.1, worse]


def test_of_equally_near_ones_the_better_is_taken_and_ties_with_the_best_never():
    assert _chosen((4.0, 1.0, -1.0, -4.0), deviations=0.0) == [4.0, 1.0]
    assert _chosen((1.0, 1.0, 0.0), deviations=-5.0) == [1.0, 0.0]
    assert _chosen((1.0, 1.0)) == [1.0]


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6))
def test_two_deviations_below_the_mean_of_few_responses_is_the_worst_one(rewards):
    """Of at most five, none can lie further below the mean (Samuelson 1968: sqrt(n - 1) deviations)."""
    if len(rewards) <= 5 and len(set(rewards)) > 1:
        assert _chosen(rewards)[-1] == min(rewards)
