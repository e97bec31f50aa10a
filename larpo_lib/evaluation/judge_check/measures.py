"""How a judge agrees with a reference over pairs of answers, and which biases it has. Pure.

Every pair has a weight: how often a resample has drawn its instruction.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from larpo_lib.evaluation.annotations import DRAW
from larpo_lib.evaluation.judge_check.reading import Compared
from larpo_lib.statistics.estimates import Bootstrap, Estimate, Floats
from larpo_lib.statistics.ranking import kendall_tau, spearman

Choices = NDArray[np.int64]
"""-1: the first answer is better, 0: neither, 1: the second."""
Mask = NDArray[np.bool_]


class Measures:
    """The numbers of some pairs.

    Args:
        pairs: judge and reference on each, one at least.
    """

    def __init__(self, pairs: Sequence[Compared]) -> None:
        self.models = sorted({one.model for one in pairs if one.model is not None})
        self._ranked = bool(self.models) and all(one.model is not None for one in pairs)
        self._groups = _indices([one.group for one in pairs])
        self._of_model = _indices([one.model or "" for one in pairs])
        self._wins = [np.array([one.judge - 1 for one in pairs]), np.array([one.reference - 1 for one in pairs])]
        self.judge, self.reference = (
            _choices([one.judge for one in pairs]),
            _choices([one.reference for one in pairs]),
        )
        other = [np.nan if one.orders[1] is None else one.orders[1] for one in pairs]
        self._first, self._other = _choices([one.orders[0] for one in pairs]), _choices(other)
        self._reference_first = _choices([one.reference_first for one in pairs])
        self._both = ~np.isnan(other)
        self._longer = np.sign([one.longer for one in pairs])
        self._shown_first = np.array([0 if one.second_first is None else 2 * one.second_first - 1 for one in pairs])

    def estimates(self, bootstrap: Bootstrap) -> dict[str, Estimate]:
        """Each number that is defined, with its interval over instructions."""
        size = int(self._groups.max()) + 1
        found = {}
        for name, measure in self._all().items():
            value = measure(np.ones(len(self._groups)))
            if value is not None:
                found[name] = replace(bootstrap.interval(size, self._resampled(measure, size)), value=value)
        return found

    def win_rates(self) -> list[tuple[str, int, float, float]]:
        """Each model with its pairs, and its win rates by the judge and by the reference, from 0 to 1."""
        judge, reference = self._win_rates(np.ones(len(self._groups)))
        counts = np.bincount(self._of_model).tolist()
        return [*zip(self.models, counts, judge.tolist(), reference.tolist(), strict=True)] if self._ranked else []

    def _all(self) -> dict[str, Callable[[Floats], float | None]]:
        return {
            "agreement": lambda weights: _share(weights, self.judge == self.reference),
            "kappa": self._kappa,
            "agreement_both_orders": lambda weights: _share(weights, self.judge == self.reference, self._both),
            "agreement_one_order": self._agreement_one_order,
            "spearman": lambda weights: self._correlation(weights, spearman),
            "kendall": lambda weights: self._correlation(weights, kendall_tau),
            "prefers_longer": lambda weights: self._prefers_longer(weights, self.judge),
            "prefers_longer_beyond": self._beyond,
            "changed_by_order": lambda weights: _share(weights, self._first != self._other, self._both),
            "prefers_first": self._prefers_first,
        }

    def _resampled(
        self, measure: Callable[[Floats], float | None], size: int
    ) -> Callable[[NDArray[np.int64]], float | None]:
        return lambda drawn: measure(np.bincount(drawn, minlength=size).astype(np.float64)[self._groups])

    def _agreement_one_order(self, weights: Floats) -> float | None:
        return _share(weights, self._first == self._reference_first) if self._both.any() else None

    def _kappa(self, weights: Floats) -> float | None:
        """(observed - expected) / (1 - expected) of the three choices (Cohen 1960); None if one of them is all."""
        table = np.bincount(3 * (self.judge + 1) + self.reference + 1, weights, minlength=9).reshape(3, 3)
        table = table / table.sum()
        expected = float(table.sum(axis=0) @ table.sum(axis=1))
        return (float(np.trace(table)) - expected) / (1 - expected) if expected < 1 else None

    def _correlation(
        self, weights: Floats, correlation: Callable[[Sequence[float], Sequence[float]], float | None]
    ) -> float | None:
        if not self._ranked:
            return None
        judge, reference = self._win_rates(weights)
        return correlation(judge.tolist(), reference.tolist()) if len(judge) > 1 else None

    def _win_rates(self, weights: Floats) -> tuple[Floats, Floats]:
        """Of the models that have a pair with a weight."""
        total = np.bincount(self._of_model, weights)
        there = total > 0
        judge, reference = (np.bincount(self._of_model, weights * wins)[there] / total[there] for wins in self._wins)
        return judge, reference

    def _prefers_longer(self, weights: Floats, choices: Choices) -> float | None:
        mask = (self._longer != 0) & (self.judge != 0) & (self.reference != 0)
        return _share(weights, choices == self._longer, mask)

    def _beyond(self, weights: Floats) -> float | None:
        judge, reference = (self._prefers_longer(weights, choices) for choices in (self.judge, self.reference))
        return None if judge is None or reference is None else judge - reference

    def _prefers_first(self, weights: Floats) -> float | None:
        """Over the judge's preferences in the first order and, as far as there are, in the other one."""
        known = self._shown_first != 0
        return _share(
            np.concatenate([weights, weights]),
            np.concatenate([self._first == self._shown_first, self._other == -self._shown_first]),
            np.concatenate([known & (self._first != 0), known & self._both & (self._other != 0)]),
        )


def _choices(preferences: Sequence[float] | Floats) -> Choices:
    found: Choices = np.sign(np.nan_to_num(np.asarray(preferences), nan=DRAW) - DRAW).astype(np.int64)
    return found


def _indices(names: Sequence[str]) -> NDArray[np.int64]:
    """The place of each name among the different ones, sorted."""
    found: NDArray[np.int64] = np.unique(np.array(names, dtype=object), return_inverse=True)[1]
    return found


def _share(weights: Floats, hits: Mask, mask: Mask | None = None) -> float | None:
    """Weighted share of the hits where `mask` is true; None where nothing is."""
    there = weights if mask is None else weights * mask
    total = float(there.sum())
    return float(there @ hits) / total if total else None
