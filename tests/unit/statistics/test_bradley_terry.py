import itertools
import math
import random

import numpy as np
import pytest
from scipy.optimize import minimize

from larpo_lib.statistics.bradley_terry import expected_win_rates, strengths


def _penalised_loss(values, comparisons):
    """Minus the log-likelihood with a drawn game against strength 0 for each, written independently."""
    games = [*comparisons, *((i, None, 0.5) for i in range(len(values)))]
    loss = 0.0
    for first, second, share in games:
        margin = values[first] - (0.0 if second is None else values[second])
        loss += share * np.logaddexp(0.0, -margin) + (1.0 - share) * np.logaddexp(0.0, margin)
    return loss


@pytest.mark.parametrize("seed", range(5))
def test_the_strengths_are_those_that_a_general_optimiser_finds(seed):
    rng = random.Random(seed)
    size = rng.randint(2, 9)
    pairs = list(itertools.combinations(range(size), 2))
    comparisons = [(i, j, rng.choice([0.0, 0.25, 0.5, 1.0])) for i, j in rng.sample(pairs, max(1, len(pairs) // 2))]
    found = minimize(_penalised_loss, np.zeros(size), args=(comparisons,), method="BFGS", options={"gtol": 1e-9})
    assert strengths(size, comparisons) == pytest.approx(found.x, abs=1e-6)


def test_one_win_by_hand():
    """The condition is 2 s(-2t) = 2 s(t) - 1 with x = exp(t): 2 / (1 + x^2) = (x - 1) / (x + 1), a cubic equation."""
    (root,) = [r.real for r in np.roots([1.0, -1.0, -1.0, -3.0]) if abs(r.imag) < 1e-12]
    first, second = strengths(2, [(0, 1, 1.0)])
    assert first == pytest.approx(math.log(root))
    assert second == pytest.approx(-math.log(root))
    assert expected_win_rates([first, second]) == pytest.approx([root**2 / (1 + root**2), 1 / (1 + root**2)])


def test_who_met_nobody_and_who_only_drew_are_average():
    assert strengths(3, [(0, 1, 0.5)]) == [0.0, 0.0, 0.0]
    assert expected_win_rates([0.0, 0.0, 0.0]) == [0.5, 0.5, 0.5]


def test_a_win_over_a_winner_counts_more_than_one_over_a_loser():
    """2 beat 1, which beat 0, which beat 4; 3 beat 4 alone."""
    found = strengths(5, [(1, 0, 1.0), (2, 1, 1.0), (3, 4, 1.0), (0, 4, 1.0)])
    assert found[2] > found[3] > found[4]
