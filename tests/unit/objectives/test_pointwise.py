"""KTO against the published fixture and its plain formula."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from list_batches import Response, batch_of, fixture, ranked_lists

from larpo_lib.objectives.pointwise import kto


def test_fixture_values() -> None:
    assert kto(fixture(1), beta=0.1).item() == pytest.approx(0.411, abs=5e-4)
    # Beside a desirable response of no weight, the mean of the two is half of the undesirable one.
    undesirable = 2 * kto(fixture(1, 4), beta=0.1, desirable_weight=0.0)
    assert undesirable.item() == pytest.approx(0.261, abs=5e-4)


@settings(max_examples=60, deadline=None)
@given(ranked_lists(), st.floats(-2, 5))
def test_kto_is_the_plain_formula(responses: list[Response], kl: float) -> None:
    baseline = max(0.0, kl)
    terms = [
        2.0 / (1 + math.exp(0.1 * (a - b - baseline)))
        if reward == responses[0][3]
        else 0.5 / (1 + math.exp(0.1 * (baseline - a + b)))
        for a, b, _, reward in responses
    ]
    loss = kto(batch_of([responses], kl=kl), beta=0.1, desirable_weight=2.0, undesirable_weight=0.5)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), abs=1e-12)


def test_no_gradient_reaches_the_baseline() -> None:
    baseline = torch.tensor(0.4, requires_grad=True)
    batch = replace(fixture(1, 2), kl_baseline=baseline)
    logps = batch.policy_logps.requires_grad_()
    kto(batch).sum().backward()
    assert baseline.grad is None
    assert logps.grad is not None
    assert logps.grad[0, 0].item() < 0 < logps.grad[0, 1].item()


def test_a_missing_baseline_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="kl_baseline"):
        kto(replace(fixture(1, 2), kl_baseline=None))
