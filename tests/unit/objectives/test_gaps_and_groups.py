"""GVPO and the contrast of groups, against worked values, plain-Python formulas and their limits."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from list_batches import Response, batch_of, distinct_lists, fixture, loss_and_gradient, loss_of, ranked_lists

BETA = 0.1


@pytest.mark.parametrize(
    ("name", "options", "loss", "gradient"),
    [
        ("gvpo", {}, 0.020000, (0.033333, 0.033333, 0.033333, -0.1)),
        ("group_contrast", {"alpha": 1.0}, 0.225573, (-0.130385, -0.071557, 0.155197, 0.046744)),
        ("group_contrast", {"alpha": 0.0}, 0.376322, None),
    ],
)
def test_fixture(name: str, options: dict[str, float], loss: float, gradient: tuple[float, ...] | None) -> None:
    found, slopes = loss_and_gradient(name, fixture(1, 2, 3, 4), **options)
    assert found.item() == pytest.approx(loss, abs=6e-7)
    if gradient is not None:
        assert (slopes[0] / BETA).tolist() == pytest.approx(gradient, abs=6e-7)


@settings(max_examples=60, deadline=None)
@given(ranked_lists(min_size=2))
def test_gvpo_is_the_regression_on_centred_rewards(responses: list[Response]) -> None:
    scores, rewards = [BETA * (a - b) for a, b, _, _ in responses], [reward for *_, reward in responses]
    size = len(responses)
    middle, mean = sum(scores) / size, sum(rewards) / size
    squares = [((g - middle) - (r - mean)) ** 2 for g, r in zip(scores, rewards, strict=True)]
    expected = sum(squares) / (2 * (size - 1)) if len(set(rewards)) > 1 else 0.0
    loss = loss_of("gvpo", batch_of([responses])).item()
    assert loss == pytest.approx(expected, rel=1e-9, abs=1e-10)
    both = list(zip(scores, rewards, strict=True))
    gaps = sum(((g - h) - (r - q)) ** 2 for g, r in both for h, q in both)
    assert loss == pytest.approx(gaps / (4 * size * (size - 1)) if expected else 0.0, rel=1e-9, abs=1e-10)


def test_gvpo_is_zero_where_the_gaps_are_those_of_the_rewards() -> None:
    batch = batch_of([[(10.0 * reward - 7, 0.0, 5, reward) for reward in (1.5, 0.5, -2.0)]])
    loss, gradient = loss_and_gradient("gvpo", batch)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max().item() < 1e-12


@settings(max_examples=30, deadline=None)
@given(distinct_lists(max_size=2))
def test_gvpo_of_two_responses_is_ipo_with_the_gap_of_the_rewards(pair: list[Response]) -> None:
    """Rewards 0 and -1: (g_w - g_l - 1)^2 / 4, and IPO is (d_w - d_l - 1 / (2 tau))^2 with 1 / (2 tau) = 1 / beta."""
    expected = loss_of("ipo", batch_of([pair]), tau=BETA / 2) * BETA**2 / 4
    torch.testing.assert_close(loss_of("gvpo", batch_of([pair])), expected)


@settings(max_examples=60, deadline=None)
@given(ranked_lists(min_size=2))
def test_group_contrast_is_the_plain_formula_with_ties(responses: list[Response]) -> None:
    mean = sum(reward for *_, reward in responses) / len(responses)
    weights = [math.exp(BETA * (a - b) + 0.5 * (reward - mean)) for a, b, _, reward in responses]
    best = sum(weight for weight, (*_, reward) in zip(weights, responses, strict=True) if reward > mean + 1e-9)
    expected = math.log(sum(weights) / best) if best else 0.0
    loss = loss_of("group_contrast", batch_of([responses]), alpha=0.5)
    assert loss.item() == pytest.approx(expected, abs=1e-10)


@settings(max_examples=30, deadline=None)
@given(distinct_lists(max_size=2))
def test_group_contrast_of_two_responses_is_dpo_that_has_a_start(pair: list[Response]) -> None:
    """Rewards 0 and -1: softplus(-(g_w - g_l + alpha)), as if the policy's lead were alpha / beta greater."""
    ahead = [(pair[0][0] + 0.5 / BETA, *pair[0][1:]), pair[1]]
    expected = loss_and_gradient("dpo", batch_of([ahead]))
    torch.testing.assert_close(loss_and_gradient("group_contrast", batch_of([pair]), alpha=0.5), expected)


def test_group_contrast_with_one_positive_is_contrastive() -> None:
    batch = fixture(1, 2, 3, 4, rewards=(3, 0, -1, -2))
    expected = loss_and_gradient("contrastive", batch)
    torch.testing.assert_close(loss_and_gradient("group_contrast", batch, alpha=0.0), expected)


@pytest.mark.parametrize("reward", [0.1, 1e9 + 0.1])
def test_equal_rewards_have_no_positives_by_rounding(reward: float) -> None:
    batch = fixture(1, 2, 3, rewards=(reward,) * 3)
    for name in ("gvpo", "group_contrast"):
        assert loss_of(name, batch).item() == 0
        shifted = replace(batch, rewards=torch.tensor([[reward, reward, reward - 0.1]], dtype=torch.float64))
        assert loss_of(name, shifted).item() > 0
