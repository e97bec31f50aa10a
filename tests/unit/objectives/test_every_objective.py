"""The table of objectives, and what holds for every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from list_batches import (
    CASE_IDS,
    CASES,
    Response,
    batch_of,
    fixture,
    loss_and_gradient,
    loss_of,
    ranked_lists,
    with_garbage,
)

from larpo_lib.config import ObjectiveConfig
from larpo_lib.objectives.listwise import lambdarank
from larpo_lib.objectives.pairwise import dpo

SHIFT_INVARIANT = [
    *("dpo", "contrastive", "lambdarank", "listmle", "lipo_lambda", "robust_listmle", "lambdaloss", "target"),
    *("approx_ndcg", "neural_ndcg", "gvpo", "group_contrast"),
]


def cases_but(excluded: Callable[[str, dict[str, Any]], bool]) -> pytest.MarkDecorator:
    """Runs a test with every objective and setting but the excluded ones."""
    kept = [(case, case_id) for case, case_id in zip(CASES, CASE_IDS, strict=True) if not excluded(*case)]
    return pytest.mark.parametrize(
        ("name", "options"), [case for case, _ in kept], ids=[case_id for _, case_id in kept]
    )


every_case = cases_but(lambda *_: False)


def test_none_is_overlooked() -> None:
    assert len(ObjectiveConfig.entries()) >= 20


@pytest.mark.parametrize(("name", "settings_class"), ObjectiveConfig.entries().items())
def test_settings_are_the_keyword_arguments(name: str, settings_class: type[ObjectiveConfig]) -> None:
    made = getattr(import_module(settings_class.__module__), name)
    assert made.settings is settings_class
    _, *parameters = signature(made.function).parameters.values()
    assert {parameter.kind for parameter in parameters} == {Parameter.KEYWORD_ONLY}
    assert settings_class().model_dump() == {"type": name, **{each.name: each.default for each in parameters}}


def test_bind_calls_the_objective_with_the_config() -> None:
    batch = fixture(1, 2, 3, 4)
    assert lambdarank.settings(top=2, reduction="mean").loss(batch).item() == pytest.approx(1.5 / 4, abs=5e-4)
    assert dpo.settings(label_smoothing=0.1).loss(batch).item() == pytest.approx(0.360, abs=5e-4)


@pytest.mark.parametrize("name", ObjectiveConfig.entries())
def test_what_an_objective_reads_is_declared(name: str) -> None:
    objective, batch = ObjectiveConfig.entries()[name](), fixture(1, 2, 3, 4)
    no_reference = replace(batch, reference_logps=torch.full_like(batch.reference_logps, torch.nan))
    assert objective.loss(no_reference).isnan().item() == objective.needs_reference
    no_kl = replace(batch, kl_baseline=torch.tensor(torch.nan))
    assert objective.loss(no_kl).isnan().item() == objective.needs_kl


@every_case
@settings(max_examples=15, deadline=None)
@given(
    lists=st.lists(ranked_lists(), min_size=1, max_size=4),
    garbage=st.sampled_from([torch.nan, torch.inf, -torch.inf, 1e30]),
)
def test_padding_and_neighbours_change_nothing(
    name: str, options: dict[str, Any], lists: list[list[Response]], garbage: float
) -> None:
    batch = with_garbage(batch_of([*lists, [(0.0, 0.0, 1, 0.0)] * 7]), garbage)
    losses, gradients = loss_and_gradient(name, batch, **options)
    assert gradients[~batch.mask].eq(0).all()
    for row, responses in enumerate(lists):
        loss, gradient = loss_and_gradient(name, batch_of([responses]), **options)
        torch.testing.assert_close(losses[row : row + 1], loss, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients[row, : len(responses)], gradient[0], rtol=1e-12, atol=1e-12)


@every_case
@pytest.mark.parametrize("garbage", [0.0, torch.nan, torch.inf])
def test_an_empty_list_is_harmless(name: str, options: dict[str, Any], garbage: float) -> None:
    loss, gradient = loss_and_gradient(name, with_garbage(batch_of([[], [(-1.0, -2.0, 3, 0.0)]]), garbage), **options)
    assert loss[0].item() == 0
    assert gradient[0].tolist() == [0.0]


@cases_but(lambda name, _: name == "kto")  # learns from single responses
@pytest.mark.parametrize("rewards", [(0.5,), (0.5, 0.5, 0.5, 0.5)])
def test_a_list_without_a_preference_has_no_loss(
    name: str, options: dict[str, Any], rewards: tuple[float, ...]
) -> None:
    batch = fixture(*range(1, len(rewards) + 1), rewards=rewards)
    loss, gradient = loss_and_gradient(name, batch, **options)
    assert loss.item() == 0
    assert gradient.eq(0).all()


@pytest.mark.parametrize("name", SHIFT_INVARIANT)
@settings(max_examples=25, deadline=None)
@given(responses=ranked_lists(), shift=st.integers(-500, 500))
def test_a_constant_added_to_all_scores_changes_nothing(name: str, responses: list[Response], shift: int) -> None:
    loss, gradient = loss_and_gradient(name, batch_of([responses]))
    shifted = batch_of([[(a + shift, b, n, reward) for a, b, n, reward in responses]])
    torch.testing.assert_close(loss_and_gradient(name, shifted), (loss, gradient), rtol=1e-9, atol=1e-11)
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)


@cases_but(lambda _, options: options.get("top") == 2)  # cuts between tied responses
@settings(max_examples=15, deadline=None)
@given(middle=st.permutations([(-16.0, -17.0, 8), (-15.0, -13.0, 5), (-12.0, -13.0, 5), (-20.0, -10.0, 9)]))
def test_the_order_of_tied_responses_changes_nothing(
    name: str, options: dict[str, Any], middle: list[tuple[float, float, int]]
) -> None:
    """Of responses tied for best or worst, an objective may take the first or the last; those between are all alike."""

    def outcome(tied: list[tuple[float, float, int]]) -> tuple[float, dict[tuple[float, float, int], float]]:
        responses = [(-10.0, -14.0, 10, 1.0), *((*response, 0.5) for response in tied), (-30.0, -20.0, 20, 0.0)]
        loss, gradient = loss_and_gradient(name, batch_of([responses]), **options)
        return loss.item(), dict(zip(tied, gradient[0, 1:-1].tolist(), strict=True))

    expected_loss, expected_gradient = outcome(sorted(middle))
    loss, gradient = outcome(middle)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert gradient == pytest.approx(expected_gradient, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lambdarank", {}),
        ("listmle", {}),
        ("lipo_lambda", {}),
        ("rrhf", {"sft_weight": 0.0}),
        ("kto", {}),
        ("approx_ndcg", {}),
        ("neural_ndcg", {}),
        ("gvpo", {}),
        ("group_contrast", {}),
        ("target", {}),
        ("nca", {}),
        ("robust_listmle", {}),
        ("lambdaloss", {}),
        ("lambdaloss", {"top": 3}),
    ],
)
@settings(max_examples=25, deadline=None)
@given(responses=ranked_lists(min_size=2), seed=st.randoms(use_true_random=False))
def test_the_order_of_any_tied_responses_changes_no_list_objective(
    name: str, options: dict[str, Any], responses: list[Response], seed: Any
) -> None:
    other_order = sorted(seed.sample(responses, len(responses)), key=lambda response: -response[3])
    loss, gradient = loss_and_gradient(name, batch_of([responses]), **options)
    other_loss, other_gradient = loss_and_gradient(name, batch_of([other_order]), **options)
    torch.testing.assert_close(other_loss, loss, rtol=1e-10, atol=1e-12)

    def by_response(order: list[Response], gradients: torch.Tensor) -> list[tuple[Response, float]]:
        return sorted(zip(order, gradients[0].tolist(), strict=True))

    for (_, expected), (_, actual) in zip(
        by_response(responses, gradient), by_response(other_order, other_gradient), strict=True
    ):
        assert actual == pytest.approx(expected, rel=1e-9, abs=1e-12)


@every_case
def test_gradients_match_finite_differences(name: str, options: dict[str, Any]) -> None:
    batch = batch_of(
        [
            [(-10.0, -14.0, 10, 1.0), (-16.0, -17.0, 8, 0.7), (-15.0, -13.0, 5, 0.7), (-30.0, -20.0, 20, 0.0)],
            [(-9.0, -8.0, 7, 2.0), (-5.0, -11.0, 4, -1.0)],
        ]
    )

    def loss(logps: torch.Tensor) -> torch.Tensor:
        return loss_of(name, replace(batch, policy_logps=logps), **options)

    assert torch.autograd.gradcheck(loss, batch.policy_logps.requires_grad_())


@every_case
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_scores_neither_overflow_nor_vanish_into_nan(
    name: str, options: dict[str, Any], sign: float, dtype: torch.dtype
) -> None:
    """|g| of 1e4 at beta 0.1; the loss stays finite whether the policy is very right or very wrong."""
    log_ratios = [1e5, 3e4, -2e4, -1e5]
    responses = [(sign * d, 0.0, n, 3.0 - i) for i, (d, n) in enumerate(zip(log_ratios, (10, 8, 5, 20), strict=True))]
    loss, gradient = loss_and_gradient(name, batch_of([responses], dtype=dtype), **options)
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_very_wrong_policy_has_the_linear_loss_of_its_margin(dtype: torch.dtype) -> None:
    batch = batch_of([[(-131072.0, 0.0, 9, 1.0), (131072.0, 0.0, 9, 0.0)]], dtype=dtype)
    for name in ("dpo", "contrastive", "lambdarank", "listmle"):
        assert loss_of(name, batch, beta=0.125).item() == 2 * 131072 * 0.125


@every_case
def test_bfloat16_inputs_are_computed_in_float32(name: str, options: dict[str, Any]) -> None:
    narrow = batch_of(
        [[(-101.0, -97.0, 33, 2.0), (-55.5, -57.25, 21, 1.0), (-77.0, -70.0, 9, 0.0)]], dtype=torch.bfloat16
    )
    wide = replace(narrow, policy_logps=narrow.policy_logps.float(), reference_logps=narrow.reference_logps.float())
    loss = loss_of(name, narrow, **options)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, loss_of(name, wide, **options), rtol=0, atol=0)
