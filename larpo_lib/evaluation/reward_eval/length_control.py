"""A win rate with the difference in length taken out, from preferences and lengths alone.

The idea is AlpacaEval 2's (Dubois et al. 2024, arXiv 2404.04475), reduced to what is known without a leaderboard. The
model that is fitted, by maximum likelihood with a normal prior on phi of mean 0 and variance 10:

    P(the policy's response is preferred) = 1 / (1 + exp(-(theta + phi * tanh(d / s))))

where d is how much longer the policy's response is, and s the standard deviation of d over the prompts. The
length-controlled win rate is the model's at d = 0, 1 / (1 + exp(-theta)). AlpacaEval's own has a term for how hard an
instruction is, is fitted together with two published models, and chooses its penalty by cross-validation: the two
numbers are not comparable.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RIDGE = 0.1
"""Inverse variance of the prior on phi: it keeps phi finite where the longer response always wins."""

_ITERATIONS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class LengthControl:
    """The fitted model.

    Attributes:
        theta: log-odds of being preferred at equal length; infinite where one side is always preferred.
        phi: what tanh(d / s) adds to them.
        scale: s, in the unit of the lengths; 0 where all differences are 0.
    """

    theta: float
    phi: float
    scale: float

    @property
    def win_rate(self) -> float:
        """Probability of being preferred at equal length."""
        return float(_sigmoid(np.array(self.theta)))

    def at(self, differences: Floats) -> Floats:
        """Probability of being preferred at differences in length."""
        return _sigmoid(self.theta + self.phi * _feature(differences, self.scale))


def fit(
    preferred: Floats, differences: Floats, *, ridge: float = RIDGE, scale: float | None = None
) -> LengthControl | None:
    """Fit the model.

    Args:
        preferred: 1 where the policy's response is preferred, 0 where the other one is, 0.5 for ties.
        differences: how much longer the policy's response is; of the same length, at least 1.
        ridge: inverse variance of the prior on phi.
        scale: s; by default the standard deviation of `differences`.

    Returns:
        None where all responses are longer by one and the same length, so that nothing tells length from quality.
    """
    found = float(np.std(differences)) if scale is None else scale
    if found == 0 and np.any(differences != 0):
        return None
    if np.all(preferred == preferred[0]) and preferred[0] in (0, 1):
        return LengthControl(np.inf if preferred[0] else -np.inf, 0.0, found)
    theta, phi = _maximise(preferred, _feature(differences, found), ridge)
    return LengthControl(theta, phi, found)


def item_values(model: LengthControl, preferred: Floats, differences: Floats, *, ridge: float = RIDGE) -> Floats:
    """One value an item whose mean is the length-controlled win rate, and whose spread is its uncertainty.

    The win rate plus the item's influence on it (the infinitesimal jackknife of Jaeckel 1972): how much the win rate
    would change if the item counted a little more, times the number of items.
    """
    rate = model.win_rate
    if not np.isfinite(model.theta):
        return np.full(len(preferred), rate)
    feature = _feature(differences, model.scale)
    design = np.stack([np.ones_like(feature), feature])
    probability = model.at(differences)
    penalty = np.array([0.0, ridge * model.phi])[:, None] / len(preferred)
    gradients = design * (preferred - probability) - penalty
    hessian = (design * (probability * (1 - probability))) @ design.T + np.diag([0.0, ridge])
    influence = np.linalg.lstsq(hessian, gradients, rcond=None)[0][0] * len(preferred)
    values: Floats = rate + rate * (1 - rate) * influence
    return values


def _maximise(preferred: Floats, feature: Floats, ridge: float) -> tuple[float, float]:
    """Newton's method with halved steps where a whole one does not climb."""
    design = np.stack([np.ones_like(feature), feature])
    prior = np.array([0.0, ridge])
    weights = np.zeros(2)
    best = _log_posterior(weights, design, preferred, prior)
    for _ in range(_ITERATIONS):
        probability = _sigmoid(weights @ design)
        gradient = design @ (preferred - probability) - prior * weights
        hessian = (design * (probability * (1 - probability))) @ design.T + np.diag(prior)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        while (found := _log_posterior(weights + step, design, preferred, prior)) < best and np.abs(
            step
        ).max() > _TOLERANCE:
            step = step / 2
        if np.abs(step).max() <= _TOLERANCE:
            break
        weights, best = weights + step, found
    return float(weights[0]), float(weights[1])


def _log_posterior(weights: Floats, design: Floats, preferred: Floats, prior: Floats) -> float:
    odds = weights @ design
    return float(np.sum(preferred * odds - np.logaddexp(0, odds)) - 0.5 * np.sum(prior * weights**2))


def _feature(differences: Floats, scale: float) -> Floats:
    return np.tanh(differences / scale) if scale else np.zeros_like(differences)


def _sigmoid(odds: Floats) -> Floats:
    found: Floats = np.exp(-np.logaddexp(0, -odds))
    return found
