"""The table of objectives, and what holds for every one of them: the properties that are public, on our own."""

from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from list_batches import CASE_IDS, CASES, Response, batch_of, fixture, loss_of, ranked_lists
from our_objectives import OURS

from larpo_lib.config import ObjectiveConfig
from larpo_lib.objectives import ListBatch
from larpo_lib.objectives._entry import DeclaredConfig
from larpo_lib.objectives._options import OPTIONS
from larpo_lib.objectives.listwise import lambdarank
from larpo_lib.objectives.pairwise import dpo
from larpo_lib.testing import properties
from larpo_lib.testing.lists import Loss, best_first
from larpo_lib.training.metrics import SATURATED_AT

SHIFT_INVARIANT = [
    *("dpo", "contrastive", "lambdarank", "listmle", "lipo_lambda", "robust_listmle", "lambdaloss", "target"),
    *("approx_ndcg", "neural_ndcg", "gvpo", "group_contrast", "ipo", "r_dpo"),
]


def cases_but(excluded: Callable[[str, dict[str, Any]], bool]) -> pytest.MarkDecorator:
    """Runs a test with every objective and setting but the excluded ones."""
    kept = [(case, case_id) for case, case_id in zip(CASES, CASE_IDS, strict=True) if not excluded(*case)]
    return pytest.mark.parametrize(
        ("name", "options"), [case for case, _ in kept], ids=[case_id for _, case_id in kept]
    )


def bound(name: str, options: dict[str, Any]) -> Loss:
    """An objective with some settings."""
    return OURS[name](**options).loss


every_case = cases_but(lambda *_: False)


def test_none_is_overlooked() -> None:
    assert len(OURS) >= 20


@pytest.mark.parametrize(("name", "settings_class"), OURS.items())
def test_settings_are_the_keyword_arguments(name: str, settings_class: type[DeclaredConfig]) -> None:
    made = getattr(import_module(settings_class.__module__), name)
    assert made.settings is settings_class
    _, *parameters = signature(made.function).parameters.values()
    assert {parameter.kind for parameter in parameters} == {Parameter.KEYWORD_ONLY}
    written = {option: OPTIONS[option][1] for option in settings_class.always_written}
    written |= {each.name: each.default for each in parameters}
    assert settings_class().model_dump() == {"type": name, **written}


def test_bind_calls_the_objective_with_the_config() -> None:
    batch = fixture(1, 2, 3, 4)
    assert lambdarank.settings(top=2, reduction="mean").loss(batch).item() == pytest.approx(1.5 / 4, abs=5e-4)
    assert dpo.settings(label_smoothing=0.1).loss(batch).item() == pytest.approx(0.360, abs=5e-4)


@pytest.mark.parametrize("name", OURS)
def test_what_an_objective_reads_is_declared(name: str) -> None:
    properties.declares_what_it_reads(OURS[name]())


@every_case
@settings(max_examples=15, deadline=None)
@given(
    lists=st.lists(ranked_lists(), min_size=1, max_size=4),
    garbage=st.sampled_from([torch.nan, torch.inf, -torch.inf, 1e30]),
)
def test_padding_and_neighbours_change_nothing(
    name: str, options: dict[str, Any], lists: list[list[Response]], garbage: float
) -> None:
    properties.padding_and_neighbours(bound(name, options), lists, garbage)


@every_case
@pytest.mark.parametrize("garbage", [0.0, torch.nan, torch.inf])
def test_an_empty_list_is_harmless(name: str, options: dict[str, Any], garbage: float) -> None:
    properties.empty_list(bound(name, options), garbage)


@cases_but(lambda name, _: name == "kto")  # learns from single responses
@pytest.mark.parametrize("size", [1, 4])
def test_a_list_without_a_preference_has_no_loss(name: str, options: dict[str, Any], size: int) -> None:
    properties.no_preference(bound(name, options), size)


@cases_but(lambda name, options: (name, options.get("top")) == ("lambdarank", 2))  # two are the top: no pair
@pytest.mark.parametrize("pair", properties.WRONG)
def test_a_step_raises_the_better_response(name: str, options: dict[str, Any], pair: list[Response]) -> None:
    loss = bound(name, options)
    properties.direction(loss, pair)
    with pytest.raises(AssertionError, match="the step is"):
        properties.direction(lambda batch: -loss(batch), pair)


@pytest.mark.parametrize("name", SHIFT_INVARIANT)
@settings(max_examples=25, deadline=None)
@given(responses=ranked_lists(), shift=st.integers(-500, 500))
def test_a_constant_added_to_all_scores_changes_nothing(name: str, responses: list[Response], shift: int) -> None:
    properties.shift(bound(name, {}), responses, shift)


@cases_but(lambda _, options: options.get("top") == 2 or "top_at_end" in options)  # cuts between tied responses
def test_the_order_of_tied_responses_changes_nothing(name: str, options: dict[str, Any]) -> None:
    """Of responses tied for best or worst, an objective may take the first or the last; those between are all alike."""
    for middle in permutations(properties.MIDDLE):
        properties.ties_between(bound(name, options), middle)


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
    other_order = best_first(seed.sample(responses, len(responses)))
    properties.any_ties(bound(name, options), responses, other_order)


@every_case
def test_gradients_match_finite_differences(name: str, options: dict[str, Any]) -> None:
    properties.finite_differences(bound(name, options))


@every_case
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_scores_neither_overflow_nor_vanish_into_nan(
    name: str, options: dict[str, Any], sign: float, dtype: torch.dtype
) -> None:
    """|g| of 1e4 at beta 0.1; the loss stays finite whether the policy is very right or very wrong."""
    properties.extremes(bound(name, options), sign, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_very_wrong_policy_has_the_linear_loss_of_its_margin(dtype: torch.dtype) -> None:
    batch = batch_of([[(-131072.0, 0.0, 9, 1.0), (131072.0, 0.0, 9, 0.0)]], dtype=dtype)
    for name in ("dpo", "contrastive", "lambdarank", "listmle"):
        assert loss_of(name, batch, beta=0.125).item() == 2 * 131072 * 0.125


@every_case
def test_bfloat16_inputs_are_computed_in_float32(name: str, options: dict[str, Any]) -> None:
    properties.bfloat16_in_float32(bound(name, options))


def _pull(config: ObjectiveConfig, apart: float) -> float:
    """Sum of |dL/dlogp| of a pair in the right order whose exponents are so far apart."""
    zeros, counts, rewards = (torch.tensor([row], dtype=torch.float64) for row in ((0, 0), (5, 5), (1, 0)))
    mask = torch.ones(1, 2, dtype=torch.bool)
    unit = config.exponents(ListBatch(rewards, zeros, counts, rewards, mask))
    logps = (rewards * apart / float(unit[0, 0] - unit[0, 1])).requires_grad_()
    config.loss(ListBatch(logps, zeros, counts, rewards, mask)).sum().backward()
    assert logps.grad is not None
    return float(logps.grad.abs().sum())


SIGMOIDS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("dpo", "listmle", "contrastive", "lambdarank", "lambdaloss", "lipo_lambda")),
    ("listmle", {"length_normalized": True, "beta": 2.0}),
    ("dpo", {"reference_free": True}),
    ("simpo", {"gamma": 0.0}),
]


@pytest.mark.parametrize(("name", "options"), SIGMOIDS)
def test_a_saturated_pair_has_one_percent_of_the_largest_gradient(name: str, options: dict[str, Any]) -> None:
    config = OURS[name](**options)
    assert _pull(config, SATURATED_AT) / _pull(config, -40.0) == pytest.approx(0.01)


def test_smooth_ranks_are_saturated_by_their_steepness_too() -> None:
    config = OURS["approx_ndcg"](alpha=25.0)
    assert _pull(config, SATURATED_AT) < 0.1 * _pull(config, 0.0)


def test_losses_that_pull_clear_pairs_back_or_read_no_differences_have_no_exponents() -> None:
    batch = fixture(1, 2, 3, 4)
    for name in ("nca", "target", "gvpo", "ipo", "kto", "slic_hf", "rrhf", "neural_ndcg", "robust_listmle"):
        assert OURS[name]().exponents(batch) is None
    assert OURS["dpo"](label_smoothing=0.1).exponents(batch) is None
    g = dpo.settings(beta=0.1).exponents(batch)
    torch.testing.assert_close(g, torch.tensor([[0.4, 0.1, -0.2, -1.0]], dtype=g.dtype))
