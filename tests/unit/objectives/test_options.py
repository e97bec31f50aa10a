"""The options of all objectives: worked values, what they are made of, and what holds with each of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from list_batches import REWARDS, A, B, N, Response, batch_of, distinct_lists, fixture, loss_and_gradient, loss_of
from our_objectives import OURS
from test_every_objective import SHIFT_INVARIANT

from larpo_lib.api.listwise_config import ListwiseConfig, chosen_criterion
from larpo_lib.config.load import check, load_config
from larpo_lib.errors import ConfigError
from larpo_lib.objectives import objective as declare
from larpo_lib.objectives._entry import settings_of
from larpo_lib.objectives._options import OPTIONS
from larpo_lib.testing import properties
from larpo_lib.testing.lists import ListBatch

VALUES: dict[str, dict[str, Any]] = {
    "reference_free": {"reference_free": True},
    "length_normalized": {"length_normalized": True},
    "margin": {"margin": 0.5},
    "rewards": {"margin": 0.5, "rewards": "rank"},
    "label_smoothing": {"label_smoothing": 0.2},
    "label_noise": {"label_noise": 0.2},
    "rho": {"rho": 0.2},
    "sft_weight": {"sft_weight": 0.3},
}
PAIRS = [(name, option) for name, entry in OURS.items() for option in entry.optional]
REFUSED = [(name, option) for name, entry in OURS.items() for option in entry.meaningless]
TIES_ALL_ALIKE = [name for name in SHIFT_INVARIANT if name not in ("dpo", "ipo", "r_dpo", "contrastive")]


def values(name: str, option: str) -> dict[str, Any]:
    """An option of an objective, with what it needs beside it."""
    return {**VALUES[option], **({"weights": "label_diff"} if (name, option) == ("lambdaloss", "rho") else {})}


def with_option(option: str) -> pytest.MarkDecorator:
    """Runs a test with every objective that has an option."""
    return pytest.mark.parametrize("name", [name for name, each in PAIRS if each == option])


def responses(rewards: tuple[float, ...] = REWARDS) -> list[Response]:
    """The fixture's list."""
    return list(zip(A, B, N, rewards, strict=True))


def turned(responses: list[Response]) -> list[Response]:
    """The list upside down."""
    ends = responses[0][3] + responses[-1][3]
    return [(a, b, n, ends - reward) for a, b, n, reward in reversed(responses)]


@pytest.mark.parametrize(
    ("name", "options", "loss", "gradient"),
    [
        ("listmle", {"beta": 2.0, "length_normalized": True}, 1.755486, None),
        ("listmle", {"beta": 2.0, "length_normalized": True, "reference_free": True}, 4.817316, None),
        ("lambdarank", {"margin": 0.5}, 2.961782, None),
        ("listmle", {"sft_weight": 0.1}, 2.131107, None),
        ("lambdarank", {}, 2.425052, None),
        ("lambdarank", {"clip_reference": True}, 2.651682, None),
        ("listmle", {"rho": 0.1}, 2.289339, (-0.404594, -0.198985, 0.182857, 0.420722)),
        ("listmle", {"rho": 0.05}, 2.160223, None),
        ("ipo", {"tau": 0.1, "length_normalized": True}, 16.81, None),
    ],
)
def test_worked_values(name: str, options: dict[str, Any], loss: float, gradient: tuple[float, ...] | None) -> None:
    found, slopes = loss_and_gradient(name, fixture(1, 2, 3, 4), **options)
    assert found.item() == pytest.approx(loss, abs=6e-7)
    if gradient is not None:
        assert (slopes[0] / 0.1).tolist() == pytest.approx(gradient, abs=6e-7)


def test_a_reference_that_prefers_the_worse_response_is_clipped() -> None:
    """Of responses 2 and 3 the reference prefers the worse one by 4 nats, of 1 and 4 the better one."""
    for name in ("dpo", "lambdarank"):
        assert loss_of(name, fixture(2, 3), clip_reference=True).item() == pytest.approx(0.744397, abs=6e-7)
        assert loss_of(name, fixture(2, 3)).item() == pytest.approx(0.554355, abs=6e-7)
        torch.testing.assert_close(loss_of(name, fixture(1, 4), clip_reference=True), loss_of(name, fixture(1, 4)))
    with pytest.raises(ConfigError, match="reference_free leaves no reference to clip; remove clip_reference"):
        check(OURS["dpo"], {"clip_reference": True, "reference_free": True})
    with pytest.raises(ConfigError, match="margin is added to the reference, which clip_reference clips with it"):
        check(OURS["lambdarank"], {"clip_reference": True, "margin": 0.5})


@pytest.mark.parametrize(("name", "option"), PAIRS)
def test_what_holds_for_objectives_holds_with_each_option(name: str, option: str) -> None:
    config = check(OURS[name], values(name, option))
    loss = config.loss
    properties.one_loss_a_list(config)
    properties.declares_what_it_reads(config)
    tied = responses((1.0, 0.5, 0.5, 0.0))
    properties.padding_and_neighbours(loss, [tied, responses()[:2], responses()[1:]], torch.nan)
    properties.empty_list(loss, torch.nan)
    properties.finite_differences(loss)
    properties.bfloat16_in_float32(loss)
    properties.extremes(loss, -1.0, torch.float32)
    properties.extremes(loss, 1.0, torch.bfloat16)
    properties.direction(loss, properties.WRONG[1])
    properties.ties_between(loss, properties.MIDDLE[::-1])
    if name != "kto":
        properties.no_preference(loss, 3)
    if name in SHIFT_INVARIANT and option != "sft_weight":
        same_length = [(a, b, 8, reward) for a, b, _, reward in responses()]
        properties.shift(loss, same_length if option == "length_normalized" else responses(), 37.0)
    if name in TIES_ALL_ALIKE:
        best = responses((1.0, 1.0, 0.25, 0.25))
        properties.any_ties(loss, best, [best[1], best[0], best[3], best[2]])


@pytest.mark.parametrize(("name", "option"), PAIRS)
def test_each_option_changes_the_loss(name: str, option: str) -> None:
    batch = batch_of([responses((0.9, 0.7, 0.4, 0.1))])
    without = {key: value for key, value in values(name, option).items() if key != option}
    assert loss_of(name, batch, **values(name, option)).item() != pytest.approx(loss_of(name, batch, **without).item())


@with_option("label_smoothing")
def test_label_smoothing_is_the_mean_over_the_list_and_the_list_upside_down(name: str) -> None:
    for tied in ((1.0, 0.7, 0.4, 0.0), (0.9, 0.3, 0.3, 0.3)):
        right, wrong = (loss_of(name, batch_of([each])) for each in (responses(tied), turned(responses(tied))))
        smoothed = loss_of(name, batch_of([responses(tied)]), label_smoothing=0.2)
        torch.testing.assert_close(smoothed, 0.8 * right + 0.2 * wrong)


@with_option("label_noise")
def test_the_mean_over_noisy_lists_is_the_loss_of_right_ones(name: str) -> None:
    right, wrong = (loss_of(name, batch_of([each]), label_noise=0.2) for each in (responses(), turned(responses())))
    torch.testing.assert_close(0.8 * right + 0.2 * wrong, loss_of(name, fixture(1, 2, 3, 4)))


@settings(max_examples=30, deadline=None)
@given(distinct_lists())
def test_rho_of_listmle_is_robust_listmle(listed: list[Response]) -> None:
    expected = loss_and_gradient("robust_listmle", batch_of([listed]), rho=0.3)
    torch.testing.assert_close(loss_and_gradient("listmle", batch_of([listed]), rho=0.3), expected)


def test_the_worst_order_at_the_start_has_the_worse_response_first() -> None:
    start = replace(fixture(1, 2, 3, 4), policy_logps=torch.tensor([B], dtype=torch.float64))
    expected = loss_and_gradient("robust_listmle", start, rho=0.3)
    torch.testing.assert_close(loss_and_gradient("listmle", start, rho=0.3), expected)


@pytest.mark.parametrize("name", ["dpo", "contrastive", "lambdarank", "listmle"])
def test_two_responses_by_hand(name: str) -> None:
    """Responses 1 and 4: d = 4 and -10, d/n = .4 and -.5, rewards 1 and 0; sp(x) = ln(1 + e^x)."""

    def sp(x: float) -> float:
        return math.log1p(math.exp(x))

    cases: list[tuple[dict[str, Any], float]] = [
        ({"margin": 0.5}, sp(-(1.4 - 0.5))),
        ({"label_smoothing": 0.1}, 0.9 * sp(-1.4) + 0.1 * sp(1.4)),
        ({"label_noise": 0.1}, (0.9 * sp(-1.4) - 0.1 * sp(1.4)) / 0.8),
        ({"rho": 0.1}, 0.9 * sp(-1.4) + 0.1 * sp(1.4)),
        ({"length_normalized": True}, sp(-0.09)),
        ({"reference_free": True}, sp(-0.1 * (-10 + 30))),
        ({"sft_weight": 0.3}, sp(-1.4) + 0.3 * 10 / 10),
        ({"margin": 0.5, "label_smoothing": 0.1}, 0.9 * sp(-(1.4 - 0.5)) + 0.1 * sp(1.4 + 0.5)),
        ({"margin": 0.5, "rho": 0.1}, 0.9 * sp(-(1.4 - 0.5)) + 0.1 * sp(1.4 + 0.5)),
        ({"margin": 0.5, "length_normalized": True}, sp(-(0.09 - 0.5))),
        ({"label_smoothing": 0.1, "rho": 0.1}, 0.8 * sp(-1.4) + 0.2 * sp(1.4)),
        ({"label_smoothing": 0.1, "label_noise": 0.1}, (1 + 1 / 40) * sp(-1.4) - 1 / 40 * sp(1.4)),  # .1 - .1 / .8
    ]
    for options, expected in cases:
        assert loss_of(name, fixture(1, 4), **options).item() == pytest.approx(expected, abs=1e-12), options
    wrong = batch_of([[(-30.0, -20.0, 20, 1.0), (-10.0, -14.0, 10, 0.0)]])
    assert loss_of(name, wrong, rho=0.1).item() == pytest.approx(sp(1.4))


def test_the_margin_of_ipo_is_in_the_unit_of_what_it_reads() -> None:
    """Responses 1 and 4: d is 4 and -10, d/n .4 and -.5; the target is 1 / (2 tau) = 5 beyond the margin of .5."""
    for options, expected in (({}, 14 - 0.5 - 5), ({"length_normalized": True}, 0.4 + 0.5 - 0.5 - 5)):
        found = loss_of("ipo", fixture(1, 4), tau=0.1, margin=0.5, **options)
        assert found.item() == pytest.approx(expected**2, abs=1e-12)


def test_a_clipped_reference_is_clipped_upside_down_too() -> None:
    """Of responses 2 and 3 the policy prefers the worse one by 1 nat, the reference by 4."""

    def sp(x: float) -> float:
        return math.log1p(math.exp(x))

    for name in ("dpo", "lambdarank"):
        found = loss_of(name, fixture(2, 3), clip_reference=True, label_smoothing=0.1)
        assert found.item() == pytest.approx(0.9 * sp(0.1 * 1) + 0.1 * sp(0.1 * (4 - 1)), abs=1e-12)


def test_options_together_by_hand() -> None:
    """g = beta d/n, less .5 for each unit of reward, upside down with .1; and the NLL of the best, -10 of 10 tokens."""
    ahead = 2 * (-1.0 + 1.5) - 0.5
    behind = 2 * (-1.5 + 1.0) - 0.5
    expected = 0.9 * math.log1p(math.exp(-ahead)) + 0.1 * math.log1p(math.exp(-behind)) + 0.3
    options = {"beta": 2.0, "reference_free": True, "length_normalized": True, "margin": 0.5, "sft_weight": 0.3}
    found = loss_of("lambdarank", fixture(1, 4), label_smoothing=0.1, **options)
    assert found.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("scale", "rewards"), [("minmax", (1, 5 / 8, 1 / 2, 0)), ("rank", (1, 2 / 3, 1 / 3, 0))])
def test_the_margin_is_of_rewards_on_their_scale(scale: str, rewards: tuple[float, ...]) -> None:
    found = loss_of("lambdarank", fixture(1, 2, 3, 4, rewards=(9, 6, 5, 1)), margin=0.5, rewards=scale)
    torch.testing.assert_close(found, loss_of("lambdarank", fixture(1, 2, 3, 4, rewards=rewards), margin=0.5))


def test_the_nll_is_the_mean_of_those_that_are_best() -> None:
    """Responses 1 and 2 are best: 10 nats in 10 tokens, and 16 in 8. Equal rewards throughout teach nothing."""
    batch = batch_of([responses((1.0, 1.0, 0.5, 0.0)), responses((1.0, 1.0, 1.0, 1.0))])
    added = loss_of("listmle", batch, sft_weight=1.0) - loss_of("listmle", batch)
    assert added.tolist() == pytest.approx([(1 + 2) / 2, 0])


def test_losses_that_are_options_of_dpo() -> None:
    batch = batch_of([responses(), responses()[1:3]])
    cpo = loss_and_gradient("cpo", batch, sft_weight=0.7)
    torch.testing.assert_close(loss_and_gradient("dpo", batch, reference_free=True, sft_weight=0.7), cpo)
    per_token = {"beta": 2.0, "reference_free": True, "length_normalized": True}
    simpo = loss_and_gradient("simpo", batch, gamma=0.0)
    torch.testing.assert_close(loss_and_gradient("dpo", batch, **per_token), simpo)


@pytest.mark.parametrize(("name", "option"), REFUSED)
def test_an_option_that_means_nothing_is_refused_with_the_reason(name: str, option: str) -> None:
    given = {"rewards": "rank"} if option == "rewards" else VALUES[option]
    with pytest.raises(
        ConfigError,
        match="uses only the" if option == "rewards" else rf"{option} means nothing for {name}: .*\. Remove {option}",
    ):
        check(OURS[name], given)


def test_every_option_is_had_or_refused_by_every_objective() -> None:
    for name, entry in OURS.items():
        assert {*entry.model_fields, *entry.meaningless} >= OPTIONS.keys(), name
        assert not entry.model_fields.keys() & entry.meaningless.keys()
    assert len(PAIRS) > 100
    assert VALUES.keys() == OPTIONS.keys()


@pytest.mark.parametrize("name", OURS)
def test_unused_options_are_no_part_of_what_is_written_or_of_the_identity(name: str) -> None:
    entry = OURS[name]
    new = set(entry.optional) - set(entry.always_written)
    own = entry.model_fields.keys() - new
    assert entry().model_dump().keys() == own
    assert not entry().identity().keys() & new
    for option in entry.optional:
        used = check(entry, values(name, option))
        for written in (used.identity(), used.model_dump(mode="json")):
            assert written.keys() == own & written.keys() | VALUES[option].keys()
        assert check(entry, used.model_dump()) == used


def test_they_are_settings_of_a_run() -> None:
    stated = ["policy=p", "prepare.source=s", "prepare.heldout=1", "train.objective.type=lambdarank"]
    config = load_config(None, [*stated, "train.objective.reference_free=true", "train.objective.margin=0.5"])
    assert not config.train.objective.needs_reference
    assert config.train.objective.loss(fixture(1, 4)).item() == pytest.approx(math.log1p(math.exp(-(2 - 0.5))))
    with pytest.raises(ConfigError, match=r"train\.objective.*: .*margin means nothing for kto"):
        load_config(None, [*stated, "train.objective.type=kto", "train.objective.margin=0.5"])


def seven(batch: ListBatch) -> torch.Tensor:
    """A loss of 7 nats."""
    return batch.policy_logps[:, 0] * 0 + 7


def test_they_are_settings_of_a_trainer(tmp_path: Path) -> None:
    objective = {"type": "listmle", "reference_free": True, "margin": 0.5}
    criterion = chosen_criterion(None, ListwiseConfig(output_dir=str(tmp_path), objective=objective, use_cpu=True))
    assert not criterion.needs_reference
    assert criterion(fixture(1, 4)).item() == pytest.approx(math.log1p(math.exp(-(2 - 0.5))))
    mine = declare()(seven).settings.model_validate({"sft_weight": 0.5})
    assert chosen_criterion(mine, ListwiseConfig(output_dir=str(tmp_path), use_cpu=True))(fixture(1, 4)).item() == 7.5


def test_a_margin_needs_a_beta_to_be_divided_by() -> None:
    def mine(batch: ListBatch, beta: float = 0.0) -> torch.Tensor:
        return batch.policy_logps[:, 0]

    with pytest.raises(ConfigError, match=r"margin is divided by beta, which is 0\.0; set beta to a number above 0"):
        check(settings_of(mine), {"margin": 1.0})
