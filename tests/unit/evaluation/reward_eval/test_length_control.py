"""The length-controlled win rate by hand, against scikit-learn, and on data whose answer is known."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from larpo_lib.evaluation.reward_eval.length_control import RIDGE, fit, item_values


def logit(p):
    return math.log(p / (1 - p))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def simulated(n, theta, phi, seed=0, mean=0.0):
    random = np.random.default_rng(seed)
    differences = random.normal(mean, 300.0, n)
    odds = theta + phi * np.tanh(differences / 300.0)
    return (random.random(n) < 1 / (1 + np.exp(-odds))).astype(float), differences


def test_two_lengths_by_hand():
    # Longer by 100 in 8 prompts, 6 of them won; shorter by 100 in 8, 2 of them won: the standard deviation is 100, and
    # two unknowns meet two shares exactly. theta + phi t = logit(6/8), theta - phi t = logit(2/8), t = tanh(1).
    preferred = np.array([1.0] * 6 + [0.0] * 2 + [1.0] * 2 + [0.0] * 6)
    differences = np.array([100.0] * 8 + [-100.0] * 8)
    model = fit(preferred, differences, ridge=0.0)
    assert model.scale == 100.0
    assert model.theta == pytest.approx(0.0, abs=1e-9)
    assert model.phi == pytest.approx(logit(0.75) / math.tanh(1))
    assert model.win_rate == pytest.approx(0.5)
    # 7 of 8 and 4 of 8: theta = (logit(7/8) + logit(1/2)) / 2 = 0.973, so 72.6 % at equal length against 68.75 % won.
    preferred = np.array([1.0] * 7 + [0.0] + [1.0] * 4 + [0.0] * 4)
    model = fit(preferred, differences, ridge=0.0)
    assert model.win_rate == pytest.approx(sigmoid(logit(7 / 8) / 2))
    assert model.win_rate == pytest.approx(0.7257, abs=1e-4)


def test_ties_count_half_of_each():
    differences = np.array([5.0, -7.0, 11.0, -2.0, 3.0])
    tied = fit(np.array([1.0, 0.0, 0.5, 0.5, 1.0]), differences)
    split = fit(
        np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
        np.concatenate([differences, differences]),
        ridge=2 * RIDGE,
    )
    assert tied.theta == pytest.approx(split.theta)


@pytest.mark.parametrize("ridge", [0.1, 1.0, 25.0])
def test_the_fit_is_that_of_scikit_learn(ridge):
    preferred, differences = simulated(400, 0.4, 1.5)
    feature = np.tanh(differences / np.std(differences))[:, None]
    # scikit-learn leaves the intercept out of its penalty, as is done here; C is the inverse of the ridge.
    reference = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000).fit(feature, preferred)
    model = fit(preferred, differences, ridge=ridge)
    assert model.theta == pytest.approx(float(reference.intercept_[0]), abs=1e-5)
    assert model.phi == pytest.approx(float(reference.coef_[0, 0]), abs=1e-5)


@pytest.mark.parametrize("quality", [-0.8, 0.0, 0.6])
def test_a_liking_for_length_is_taken_out(quality):
    # The policy's responses are longer by a standard deviation on average, and the judge likes length.
    preferred, differences = simulated(40_000, quality, 1.2, mean=300.0)
    model = fit(preferred, differences, scale=300.0)
    assert preferred.mean() > sigmoid(quality) + 0.05
    assert model.win_rate == pytest.approx(sigmoid(quality), abs=0.02)
    assert model.phi == pytest.approx(1.2, abs=0.1)


def test_with_equal_lengths_it_is_the_win_rate():
    assert fit(np.array([1.0, 1.0, 0.0, 0.5]), np.zeros(4)).win_rate == pytest.approx(0.625)


def test_nothing_tells_a_constant_length_from_quality():
    assert fit(np.array([1.0, 0.0]), np.array([7.0, 7.0])) is None


@pytest.mark.parametrize(("always", "rate"), [(1.0, 1.0), (0.0, 0.0), (0.5, 0.5)])
def test_one_outcome_throughout(always, rate):
    preferred, differences = np.full(4, always), np.array([1.0, -2.0, 3.0, 5.0])
    model = fit(preferred, differences)
    assert model.win_rate == pytest.approx(rate)
    assert model.at(np.array([100.0])) == pytest.approx(rate)
    assert item_values(model, preferred, differences) == pytest.approx(np.full(4, rate))


def test_where_the_longer_one_always_wins_the_fit_stays_finite():
    differences = np.array([50.0, 40.0, 30.0, -20.0, -60.0])
    model = fit((differences > 0).astype(float), differences)
    assert 0.05 < model.win_rate < 0.95
    assert 1 < model.phi < 30


def test_item_values_have_the_win_rate_as_their_mean_and_its_spread():
    preferred, differences = simulated(600, 0.3, 1.0, mean=100.0)
    model = fit(preferred, differences)
    values = item_values(model, preferred, differences)
    assert values.mean() == pytest.approx(model.win_rate, abs=1e-9)
    random = np.random.default_rng(1)
    again = []
    for _ in range(400):
        drawn = random.integers(600, size=600)
        again.append(fit(preferred[drawn], differences[drawn]).win_rate)
    assert values.std() / math.sqrt(600) == pytest.approx(np.std(again), rel=0.12)
