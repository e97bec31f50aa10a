"""The check of an objective passes our own, and finds what is wrong with others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from larpo_lib.config import ObjectiveConfig
from larpo_lib.errors import ConfigError
from larpo_lib.objectives import ListBatch, objective
from larpo_lib.objectives.listwise import listmle
from larpo_lib.objectives.masked import differences, log_ratios, ordered_pairs, policy_logps
from larpo_lib.objectives.pairwise import simpo
from larpo_lib.objectives.pointwise import kto
from larpo_lib.objectives.terms import reduce_terms, where_decided
from larpo_lib.testing import check_objective


def hinge(batch: ListBatch, *, margin: float = 1.0) -> torch.Tensor:
    """A right one, as a user writes it: plain."""
    return reduce_terms(torch.relu(margin - differences(0.1 * log_ratios(batch))), ordered_pairs(batch), "sum")


def test_right_ones_pass() -> None:
    check_objective(hinge, {"margin": 0.3}, ties="any", shift_invariant=True)
    check_objective(listmle, {"reduction": "mean"}, ties="any", shift_invariant=True, examples=5)
    check_objective(simpo, examples=5)
    check_objective(kto, learns_without_preference=True, examples=5)


def masked_by_a_product(batch: ListBatch) -> torch.Tensor:
    ratios = (batch.policy_logps - batch.reference_logps) * batch.mask
    mean = ratios.sum(dim=1) / batch.mask.sum(dim=1).clamp(min=1)
    return where_decided(torch.nn.functional.softplus(mean - ratios[:, 0]), batch)


def mean_over_the_batch(batch: ListBatch) -> torch.Tensor:
    losses = hinge(batch)
    return losses - losses.mean() + losses.detach().mean() / len(losses)


def likelihood(batch: ListBatch) -> torch.Tensor:
    return -log_ratios(batch).sum(dim=1)


def reversed_sign(batch: ListBatch) -> torch.Tensor:
    return -hinge(batch)


def by_place(batch: ListBatch) -> torch.Tensor:
    places = torch.arange(1, batch.mask.shape[1] + 1)
    return where_decided(log_ratios(batch) * places, batch)


def best_tied_by_place(batch: ListBatch) -> torch.Tensor:
    return where_decided(torch.nn.functional.softplus(-0.1 * log_ratios(batch)[:, :1]).sum(dim=1), batch)


def without_gradient_of_a_part(batch: ListBatch) -> torch.Tensor:
    return where_decided(log_ratios(batch) * log_ratios(batch).detach(), batch)


def exponent(batch: ListBatch) -> torch.Tensor:
    pairs = (-0.1 * differences(log_ratios(batch))).exp()
    return reduce_terms(pairs, ordered_pairs(batch), "sum")


def narrow(batch: ListBatch) -> torch.Tensor:
    ratios = (batch.policy_logps - batch.reference_logps).masked_fill(~batch.mask, 0)
    return reduce_terms(torch.relu(1 - differences(0.125 * ratios)), ordered_pairs(batch), "sum")


def of_the_policy_alone(batch: ListBatch) -> torch.Tensor:
    return reduce_terms(torch.relu(1 - differences(0.1 * policy_logps(batch))), ordered_pairs(batch), "sum")


@objective(needs_reference=True, needs_kl=True)
def declares_too_much(batch: ListBatch) -> torch.Tensor:
    return hinge(batch)


@pytest.mark.parametrize(
    ("function", "options", "told"),
    [
        (
            masked_by_a_product,
            {},
            r"A list has the same loss and gradient alone .*\nnan\n.*the gradient is not 0 at masked",
        ),
        (mean_over_the_batch, {}, r"the loss changes beside other lists"),
        (likelihood, {}, r"A list of equally good responses has loss 0 .*Not so for\n1\nthe loss of 1 equally good"),
        (by_place, {}, r"The order of tied responses that are neither best nor worst .*another order of tied"),
        (best_tied_by_place, {"ties": "any"}, r"The order of tied responses changes nothing, best and worst ones"),
        (hinge, {"shift_invariant": True, "settings": {"margin": 1.0}}, None),
        (best_tied_by_place, {"shift_invariant": True}, r"A constant added to all .*changes the loss"),
        (without_gradient_of_a_part, {"ties": "differ"}, r"the gradient is not that of finite differences"),
        (exponent, {}, r"Loss and gradient stay finite .*1\.0\ntorch\.float32\nthe gradient is \[\[nan"),
        (reversed_sign, {}, r"A step down the gradient raises the better .*the step is -0\.1 for the better one, 0\.1"),
        (reversed_sign, {"any_direction": True}, None),
        (narrow, {}, r"the loss of torch\.bfloat16 is torch\.bfloat16"),
        (of_the_policy_alone, {}, r"needs_reference is True, but the loss does not read it"),
        (lambda batch: hinge(batch).mean(), {}, r"gave a tensor of shape \(\) for 2 lists, not one loss for each"),
        (lambda batch: hinge(batch).tolist(), {}, r"gave list, not a tensor with one loss for each list"),
        (lambda batch: hinge(batch).detach(), {}, r"gave a loss without a gradient"),
        (declares_too_much, {}, r"needs_kl is True, but the loss does not read it"),
    ],
)
def test_what_is_wrong_is_found(function: Callable[..., Any], options: dict[str, Any], told: str | None) -> None:
    if told is None:
        check_objective(function, **options)
        return
    with pytest.raises(AssertionError, match=rf"(?s){told}"):
        check_objective(function, **options)


def test_settings_are_checked_as_in_a_run() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'margins'\. Did you mean 'margin'"):
        check_objective(hinge, {"margins": 1.0})
    assert set(ObjectiveConfig.entries()) >= {"function", "listmle"}
