"""Checks that both sides do the same work: equal log-probabilities, equal losses, equal gradients."""

import itertools
import math
from collections.abc import Sequence

from benchmarks.measure import Run

FLOAT32, BFLOAT16 = 1e-3, 3e-2
"""Relative differences that precision explains."""


def check_agreement(ours: Run, theirs: Run, tolerance: float) -> None:
    """Refuse a comparison of different work.

    Args:
        ours: on lists.
        theirs: on every pair of those lists (`pairs_of`), with as many optimiser steps.
        tolerance: relative.

    Raises:
        RuntimeError: reference log-probabilities differ, the loss is not ln 2, or, where all data make one optimiser
            step, the gradients' norms differ. Over several steps they may: either side shuffles for itself.
    """
    pairs = [pair for logps in ours.reference_logps for pair in itertools.combinations(logps, 2)]
    _check("reference log-probabilities", _flat(pairs), _flat(theirs.reference_logps), tolerance)
    _check("numbers of optimiser steps", [ours.steps], [theirs.steps], 0.0)
    _check("losses against ln 2", [ours.loss, theirs.loss], [math.log(2)] * 2, tolerance)
    if ours.steps == 1:
        _check("gradient norms", ours.grad_norms, theirs.grad_norms, tolerance)


def _flat(values: Sequence[Sequence[float]]) -> list[float]:
    return [value for row in values for value in row]


def _check(what: str, ours: Sequence[float], theirs: Sequence[float], tolerance: float) -> None:
    if len(ours) != len(theirs):
        raise RuntimeError(f"{what}: {len(ours)} of ours against {len(theirs)} of theirs")
    for mine, other in zip(ours, theirs, strict=True):
        if not math.isclose(mine, other, rel_tol=tolerance):  # NaN is close to nothing
            raise RuntimeError(f"{what} differ: {mine} of ours against {other} of theirs")
