"""Objectives with a target distribution, against published worked values and their limits."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from list_batches import Response, batch_of, distinct_lists, fixture, loss_and_gradient, loss_of

BETA = 0.1
SHARES = (0.394287, 0.292095, 0.216389, 0.097230)
"""softmax(g)."""
Z_SCORES = (1.283901, 0.473016, -0.337869, -1.419048)
"""Of the fixture's rewards."""
REVERSE = {"direction": "reverse", "tau": 0.5}


@pytest.mark.parametrize(
    ("name", "options", "loss", "gradient"),
    [
        ("target", {}, 1.332017, (0.017994, 0.013331, 0.009875, -0.041200)),
        ("target", {"tau": 0.5}, 1.200067, (-0.109405, 0.015663, 0.064680, 0.029063)),
        ("target", {"tau": 0.1}, 0.946345, (-0.556003, 0.244783, 0.214033, 0.097187)),
        ("target", REVERSE, 0.030913, (-0.108744, 0.007069, 0.070153, 0.031522)),
        ("target", {"rewards": "zscore"}, 1.132945, (-0.190844, 0.032025, 0.100797, 0.058022)),
        ("nca", {}, 1.361503, (-0.001339, -0.001174, -0.001007, -0.033965)),
        ("nca", {"tau": 0.01}, 1.155218, (-0.251640, 0.131245, 0.112542, 0.067235)),
    ],
)
def test_fixture(name: str, options: dict[str, Any], loss: float, gradient: tuple[float, ...]) -> None:
    """g = (.4, .1, -.2, -1), rewards (1, .7, .4, 0); gradients are those with respect to g."""
    found, slopes = loss_and_gradient(name, fixture(1, 2, 3, 4), **options)
    assert found.item() == pytest.approx(loss, abs=6e-7)
    assert (slopes[0] / BETA).tolist() == pytest.approx(gradient, abs=6e-7)


def test_the_gradient_at_the_reference_is_uniform_less_the_target() -> None:
    batch = fixture(1, 2, 3, 4)
    _, gradient = loss_and_gradient("target", replace(batch, reference_logps=batch.policy_logps), tau=0.5)
    assert (gradient[0] / BETA).tolist() == pytest.approx((-0.253692, -0.026432, 0.098291, 0.181833), abs=6e-7)


def test_equal_rewards_would_push_all_to_one_likelihood_and_are_left_out() -> None:
    """Nearly equal ones show what their gradient would be: softmax(g) less 1/4."""
    _, nearly = loss_and_gradient("target", fixture(1, 2, 3, 4, rewards=(3e-9, 2e-9, 1e-9, 0.0)))
    assert (nearly[0] / BETA).tolist() == pytest.approx([share - 0.25 for share in SHARES], abs=6e-7)
    assert (nearly[0] / BETA).tolist() == pytest.approx((0.144, 0.042, -0.034, -0.153), abs=6e-4)
    assert loss_and_gradient("target", fixture(1, 2, 3, 4, rewards=(0.5,) * 4))[1].tolist() == [[0.0] * 4]


def test_only_log_ratios_count_and_of_nca_also_what_all_have_in_common() -> None:
    """Raw log-probabilities would decide everything: softmax(b + u) is (.641, .014, .344, .0001)."""
    batch = fixture(1, 2, 3, 4)
    assert batch.reference_logps.add(torch.tensor(Z_SCORES)).softmax(1)[0].tolist() == pytest.approx(
        (0.641, 0.014, 0.344, 0.0001), abs=5e-4
    )
    both = torch.tensor([[3.0, -50.0, 7.0, 0.5]], dtype=torch.float64)
    moved = replace(batch, policy_logps=batch.policy_logps + both, reference_logps=batch.reference_logps + both)
    raised = replace(batch, policy_logps=batch.policy_logps + 5)
    for options in ({}, REVERSE, {"rewards": "zscore"}):
        expected = loss_of("target", batch, **options)
        torch.testing.assert_close(loss_of("target", moved, **options), expected)
        torch.testing.assert_close(loss_of("target", raised, **options), expected)
    torch.testing.assert_close(loss_of("nca", moved), loss_of("nca", batch))
    assert abs(loss_of("nca", raised) - loss_of("nca", batch)).item() > 0.01


@settings(max_examples=30, deadline=None)
@given(distinct_lists())
def test_forward_is_contrastive_when_the_target_is_all_on_the_best(responses: list[Response]) -> None:
    expected = loss_and_gradient("contrastive", batch_of([responses]))
    torch.testing.assert_close(loss_and_gradient("target", batch_of([responses]), tau=1e-3), expected)


@settings(max_examples=30, deadline=None)
@given(distinct_lists(max_size=2), st.floats(0.2, 3))
def test_two_responses_are_dpo_with_label_smoothing(pair: list[Response], tau: float) -> None:
    smoothing = 1 / (1 + math.exp((pair[0][3] - pair[1][3]) / tau))
    expected = loss_and_gradient("dpo", batch_of([pair]), label_smoothing=smoothing)
    torch.testing.assert_close(loss_and_gradient("target", batch_of([pair]), tau=tau), expected)


def test_forward_is_the_kl_divergence_and_the_entropy_of_the_target() -> None:
    shares = torch.tensor([1.0, 0.7, 0.4, 0.0], dtype=torch.float64).div(0.5).softmax(0)
    kl = loss_of("target", fixture(1, 2, 3, 4), tau=0.5).item() + (shares * shares.log()).sum().item()
    assert kl == pytest.approx(0.030031, abs=1e-6)


def test_two_rewards_by_weight_are_one_target() -> None:
    """Of the second rewards the best is response 3. The loss is linear in the target."""
    first = loss_of("target", fixture(1, 2, 3, 4), tau=0.5).item()
    second = loss_of("target", fixture(3, 4, 2, 1, rewards=(0.0, 0.4, 1.0, 0.7)), tau=0.5).item()
    assert 0.7 * first + 0.3 * second == pytest.approx(1.339670, abs=6e-7)
    slopes = loss_and_gradient("target", fixture(1, 2, 3, 4), tau=0.5)[1][0] / BETA
    other = loss_and_gradient("target", fixture(3, 4, 2, 1, rewards=(0.0, 0.4, 1.0, 0.7)), tau=0.5)[1][0] / BETA
    mixed = 0.7 * slopes + 0.3 * other[[3, 2, 0, 1]]
    share = torch.tensor(SHARES, dtype=torch.float64)
    assert (share - mixed).tolist() == pytest.approx((0.373034, 0.239015, 0.257304, 0.130647), abs=1.2e-6)


def test_two_responses_of_the_fixture() -> None:
    assert loss_of("target", fixture(1, 4), tau=0.5).item() == pytest.approx(0.387302, abs=6e-7)


@pytest.mark.parametrize("options", [{}, REVERSE, {"rewards": "zscore"}])
def test_a_constant_added_to_all_rewards_changes_nothing(options: dict[str, Any]) -> None:
    for name in ("target", "nca"):
        chosen = {key: value for key, value in options.items() if name == "target" or key != "direction"}
        batch = fixture(1, 2, 3, 4)
        expected = loss_and_gradient(name, batch, **chosen)
        torch.testing.assert_close(
            loss_and_gradient(name, replace(batch, rewards=batch.rewards + 37), **chosen), expected
        )


def test_z_scores_have_no_scale_and_raw_rewards_have_one() -> None:
    high, low = fixture(1, 2, 3, 4, rewards=(90, 60, 50, 10)), fixture(1, 2, 3, 4, rewards=(9, 6, 5, 1))
    for name in ("target", "nca"):
        loss = partial(loss_of, name)
        torch.testing.assert_close(loss(high, rewards="zscore"), loss(low, rewards="zscore"))
        assert abs(loss(high) - loss(low)).item() > 0.01


def test_reverse_is_zero_where_the_policy_is_the_target() -> None:
    """And forward is the target's entropy: log-ratios of ten times the rewards, so that g is the rewards."""
    responses = [(10.0 * reward, 0.0, 5, reward) for reward in (1.0, 0.5, 0.0)]
    shares = [math.exp(reward) / sum(math.exp(other) for *_, other in responses) for *_, reward in responses]
    entropy = -sum(share * math.log(share) for share in shares)
    for direction, expected in (("forward", entropy), ("reverse", 0.0)):
        loss, gradient = loss_and_gradient("target", batch_of([responses]), direction=direction)
        assert loss.item() == pytest.approx(expected, abs=1e-12)
        assert gradient.abs().max().item() < 1e-12
