"""Work that is not the same on both sides is refused."""

import math
from dataclasses import replace

import pytest

from benchmarks.agreement import check_agreement
from benchmarks.measure import Run

OURS = Run(1.0, 1.0, 2.0, 1, math.log(2), [0.8], [[-10.0, -20.0, -30.0]])
TRL = replace(OURS, train_seconds=9.0, reference_logps=[[-10.0, -20.0], [-10.0, -30.0], [-20.0, -30.0]])


def test_equal_work_agrees() -> None:
    check_agreement(OURS, TRL, 1e-6)
    rounded = replace(TRL, grad_norms=[0.8004], reference_logps=[[-10.004, -20.0], [-10.0, -30.0], [-20.0, -30.0]])
    check_agreement(OURS, rounded, 1e-3)


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        (replace(TRL, reference_logps=TRL.reference_logps[:2]), "6 of ours against 4 of theirs"),
        (replace(TRL, reference_logps=[[-10.0, -20.0], [-10.0, -30.1], [-20.0, -30.0]]), "-30.0 of ours against -30.1"),
        (replace(TRL, steps=2), "steps"),
        (replace(TRL, loss=0.6), "losses"),
        (replace(TRL, loss=math.nan), "losses"),
        (replace(TRL, grad_norms=[1.6]), "gradient norms"),
    ],
)
def test_other_work_is_refused(theirs: Run, told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        check_agreement(OURS, theirs, 1e-3)


def test_gradients_of_several_steps_are_not_compared_since_both_sides_shuffle() -> None:
    several = {"steps": 2, "grad_norms": [0.8, 0.9]}
    check_agreement(replace(OURS, **several), replace(TRL, steps=2, grad_norms=[0.7, 1.0]), 1e-3)
