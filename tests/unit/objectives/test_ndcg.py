"""Objectives that aim at NDCG, against worked values and plain-Python formulas."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from list_batches import REWARDS, Response, batch_of, fixture, loss_and_gradient, loss_of, ranked_lists
from numpy.typing import NDArray

from larpo_lib.objectives import ndcg

BETA = 0.1
IDCG_AT_2 = 1 + (2**0.7 - 1) / math.log2(3)
SOFTPLUS = math.log1p(math.exp(-0.3))
"""Of a margin of .3, that of the first and the second response."""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"weights": "lambdarank"}, 0.268674),
        ({"weights": "ndcg2"}, 0.167811),
        ({"weights": "ndcg2pp"}, 1.946780),
        ({"weights": "label_diff"}, 1.165098),
        ({"weights": "lambdarank", "top": 2}, (1 - 1 / math.log2(3)) * (1 - (2**0.7 - 1)) / IDCG_AT_2 * SOFTPLUS),
        ({"weights": "label_diff", "top": 2}, 0.3 * SOFTPLUS),
        ({"top": 1}, 0.0),
        ({"top": 4}, 0.167811),
    ],
)
def test_lambdaloss_on_the_fixture(options: dict[str, Any], expected: float) -> None:
    """The cut-off at 2 leaves the first two responses, whose ranks by g are 1 and 2."""
    assert loss_of("lambdaloss", fixture(1, 2, 3, 4), **options).item() == pytest.approx(expected, abs=6e-7)


def test_lambdaloss_gradient_on_the_fixture() -> None:
    _, gradient = loss_and_gradient("lambdaloss", fixture(1, 2, 3, 4), weights="lambdarank")
    assert (gradient[0] / BETA).tolist() == pytest.approx((-0.188033, 0.006918, 0.084112, 0.097003), abs=6e-7)


def _weight(kind: str, gains: list[float], ranks: list[int], psi: list[float], i: int, j: int) -> float:
    discounts = [1 / math.log2(1 + rank) for rank in ranks]
    gap, moved = abs(gains[i] - gains[j]), abs(ranks[i] - ranks[j])
    swapped = abs(discounts[i] - discounts[j]) * gap
    ndcg2 = abs(1 / math.log2(1 + moved) - 1 / math.log2(2 + moved)) * gap
    return {
        "lambdarank": swapped,
        "ndcg1": gains[i] * discounts[i],
        "ndcg2": ndcg2,
        "ndcg2pp": 10 * ndcg2 + swapped,
        "label_diff": abs(psi[i] - psi[j]),
    }[kind]


@pytest.mark.parametrize("kind", ["lambdarank", "ndcg1", "ndcg2", "ndcg2pp", "label_diff"])
@settings(max_examples=30, deadline=None)
@given(responses=ranked_lists(), top=st.sampled_from([1, 2, 3, None]))
def test_lambdaloss_is_the_plain_formula_with_ties(kind: str, responses: list[Response], top: int | None) -> None:
    responses = [(a, b, n, reward / 4) for a, b, n, reward in responses]
    psi = [response[3] for response in responses]
    scores = [(BETA * (a - b), reward) for a, b, _, reward in responses]
    order = sorted(scores, key=lambda pair: (-pair[0], -pair[1]))
    ranks = [1 + order.index(pair) for pair in scores]
    ideal = sum((2**p - 1) / math.log2(1 + place) for place, p in enumerate(psi[:top], 1)) or 1.0
    gains = [(2**p - 1) / ideal for p in psi]
    last = len(responses) if top is None else top
    expected = sum(
        _weight(kind, gains, ranks, psi, i, j) * math.log1p(math.exp(scores[j][0] - scores[i][0]))
        for i in range(len(responses))
        for j in range(len(responses))
        if psi[i] > psi[j] and max(ranks[i], ranks[j]) <= last
    )
    loss = loss_of("lambdaloss", batch_of([responses]), weights=kind, top=top)
    assert loss.item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("kind", ["lambdarank", "ndcg1", "ndcg2", "ndcg2pp", "label_diff"])
def test_lambdaloss_can_leave_the_reference(kind: str) -> None:
    """All g are equal before the first step; the weights must not vanish there."""
    batch = fixture(1, 2, 3, 4)
    _, gradient = loss_and_gradient("lambdaloss", replace(batch, reference_logps=batch.policy_logps), weights=kind)
    assert gradient[0, 0].item() < 0 < gradient[0, 3].item()


def test_minmax_takes_the_scale_of_a_reranker_away() -> None:
    for name in ("lambdaloss", "lipo_lambda", "approx_ndcg", "neural_ndcg"):
        loss = partial(loss_of, name)
        low, high = (fixture(1, 2, 3, 4, rewards=rewards) for rewards in ((9, 6, 5, 1), (90, 60, 50, 10)))
        torch.testing.assert_close(loss(low, rewards="minmax"), loss(high, rewards="minmax"))


@pytest.mark.parametrize(
    ("name", "options", "loss", "gradient"),
    [
        ("approx_ndcg", {"alpha": 1.0}, -0.758224, (-0.058621, -0.004775, 0.026436, 0.036960)),
        ("approx_ndcg", {"alpha": 25.0}, -0.999754, None),
        ("neural_ndcg", {"tau": 0.01}, -1.0, (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_smooth_ndcg_on_the_fixture(
    name: str, options: dict[str, float], loss: float, gradient: tuple[float, ...] | None
) -> None:
    found, slopes = loss_and_gradient(name, fixture(1, 2, 3, 4), **options)
    assert found.item() == pytest.approx(loss, abs=6e-7)
    if gradient is not None:
        assert (slopes[0] / BETA).tolist() == pytest.approx(gradient, abs=6e-7)


Array = NDArray[np.float64]


def _neural_ndcg(scores: Array, stop_at: float = 0.0) -> float:
    """From the paper, in plain numpy and without logarithms; until rows and columns sum to one within `stop_at`."""
    size, places = len(scores), np.arange(1, len(scores) + 1)
    logits = (size + 1 - 2 * places)[:, None] * scores - np.abs(scores[:, None] - scores).sum(1)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for _ in range(50):
        if max(abs(shares.sum(axis) - 1).max() for axis in (0, 1)) < stop_at:
            break
        shares = shares / shares.sum(0)
        shares = shares / shares.sum(1, keepdims=True)
    gains, discounts = 2 ** np.array(REWARDS) - 1, 1 / np.log2(1 + places)
    return -float(shares @ gains @ discounts / (gains @ discounts))


def _slopes(loss: Callable[[Array], float], at: Array, step: float = 1e-5) -> list[float]:
    return [(loss(at + step * one) - loss(at - step * one)) / (2 * step) for one in np.eye(len(at))]


def test_neural_ndcg_is_that_of_plain_numpy_once_sinkhorn_has_converged() -> None:
    """The published values stop it at 1e-6, after 16 steps, where the gradient is still 3e-6 from that of 50 steps."""
    scores = np.array([0.4, 0.1, -0.2, -1.0])
    found, slopes = loss_and_gradient("neural_ndcg", fixture(1, 2, 3, 4))
    assert found.item() == pytest.approx(_neural_ndcg(scores), abs=1e-12)
    assert (slopes[0] / BETA).tolist() == pytest.approx(_slopes(_neural_ndcg, scores), abs=1e-9)
    assert _neural_ndcg(scores, 1e-6) == pytest.approx(-0.923527, abs=6e-7)
    stopped = _slopes(partial(_neural_ndcg, stop_at=1e-6), scores)
    assert stopped == pytest.approx((-0.063987, 0.002861, 0.050396, 0.010730), abs=6e-7)
    assert max(abs(a - b) for a, b in zip(stopped, _slopes(_neural_ndcg, scores), strict=True)) < 3e-6


def test_without_sinkhorn_the_smooth_permutation_would_push_the_best_response_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ndcg, "_SINKHORN_STEPS", 0)
    loss, gradient = loss_and_gradient("neural_ndcg", fixture(1, 2, 3, 4))
    assert loss.item() == pytest.approx(-0.934600, abs=6e-7)
    assert (gradient[0, 0] / BETA).item() == pytest.approx(0.062534, abs=6e-7)


def test_gains_on_the_fixture() -> None:
    batch = fixture(1, 2, 3, 4)
    gains = ndcg._ndcg_gains(batch.rewards, batch)[0].tolist()
    assert gains == pytest.approx([(2**reward - 1) / 1.553773 for reward in (1.0, 0.7, 0.4, 0.0)], abs=6e-7)
    raw = fixture(1, 2, 3, 4, rewards=(3.0, -1.0, -2.0, -6.0))  # why rewards must be from 0 to 1: most gains are losses
    found = ndcg._ndcg_gains(raw.rewards, raw)[0]
    assert (7 * found / found[0]).tolist() == pytest.approx((7, -0.5, -0.75, -0.984), abs=5e-4)


def test_steep_ranks_have_next_to_no_gradient() -> None:
    _, steep = loss_and_gradient("approx_ndcg", fixture(1, 2, 3, 4), alpha=25.0)
    assert steep.abs().max().item() / BETA == pytest.approx(0.005, abs=6e-4)


def test_steep_ranks_cannot_repair_a_wrong_order() -> None:
    """g reversed: at alpha 25 the loss is far from -1 and has next to no gradient, at 1 it has one."""
    batch = fixture(1, 2, 3, 4)
    wrong = replace(batch, policy_logps=batch.policy_logps.flip(1), reference_logps=batch.reference_logps.flip(1))
    loss, steep = loss_and_gradient("approx_ndcg", wrong, alpha=25.0)
    _, smooth = loss_and_gradient("approx_ndcg", wrong, alpha=1.0)
    assert loss.item() == pytest.approx(-0.607906, abs=6e-7)
    assert steep.abs().max().item() / BETA == pytest.approx(0.00059, abs=6e-6)
    assert smooth.abs().max().item() / BETA == pytest.approx(0.027, abs=6e-4)


@settings(max_examples=30, deadline=None)
@given(responses=ranked_lists(min_size=2))
@pytest.mark.parametrize(("name", "options"), [("approx_ndcg", {"alpha": 1e4}), ("neural_ndcg", {"tau": 1e-4})])
def test_sharp_smooth_ndcg_is_minus_the_ndcg(name: str, options: dict[str, float], responses: list[Response]) -> None:
    """Against scikit-learn, on scores that are all different."""
    from sklearn.metrics import ndcg_score

    distinct = [(-float(n + 41 * i % 7) - 50 * i, 0.0, n, r / 4) for i, (_, _, n, r) in enumerate(responses)]
    shuffled = [(distinct[(i * 2 + 1) % len(distinct)][0] - i, b, n, r) for i, (_, b, n, r) in enumerate(distinct)]
    rewards = [response[3] for response in shuffled]
    loss = loss_of(name, batch_of([shuffled]), **options).item()
    if len(set(rewards)) == 1:
        assert loss == 0
    else:
        scores = [[response[0] for response in shuffled]]
        assert loss == pytest.approx(-ndcg_score([[2**reward - 1 for reward in rewards]], scores), abs=1e-6)
