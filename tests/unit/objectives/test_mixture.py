"""Several objectives as one, by weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from list_batches import fixture, loss_and_gradient, loss_of

from larpo_lib.config import LarpoConfig, load_config
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, DataError, LarpoError
from larpo_lib.functions import functions_of
from larpo_lib.objectives.mixture import MixtureConfig
from larpo_lib.steps.train import check_rewards
from larpo_lib.testing import lists, properties
from larpo_lib.training.metrics import list_metrics

BATCH = fixture(1, 2, 3, 4)


def mixture(*parts: tuple[float, dict[str, Any]]) -> MixtureConfig:
    """Objectives with their weights."""
    return check(MixtureConfig, {"parts": [{"weight": weight, "objective": each} for weight, each in parts]})


def of(*names: str) -> MixtureConfig:
    """Objectives of one weight."""
    return mixture(*((1.0, {"type": name}) for name in names))


def test_the_fixture() -> None:
    """By hand: half of contrastive's .930677 and two of ListMLE's 2.031107; gradients with respect to g likewise."""
    config = mixture((0.5, {"type": "contrastive"}), (2.0, {"type": "listmle"}))
    loss, gradient = lists.loss_and_gradient(config.make(), BATCH)
    assert loss.item() == pytest.approx(0.930677 / 2 + 2 * 2.031107, abs=3e-6)
    parts = [loss_and_gradient(name, BATCH)[1] for name in ("contrastive", "listmle")]
    torch.testing.assert_close(gradient, 0.5 * parts[0] + 2 * parts[1])
    assert (gradient[0, 0] / 0.1).item() == pytest.approx(-0.605713 * 2.5, abs=3e-6)
    assert config.in_words == "0.5 contrastive + 2 listmle"


def test_parts_have_settings_and_options_of_their_own() -> None:
    config = mixture((1.0, {"type": "dpo", "beta": 0.3}), (0.5, {"type": "listmle", "sft_weight": 0.2}))
    expected = loss_of("dpo", BATCH, beta=0.3) + 0.5 * loss_of("listmle", BATCH, sft_weight=0.2)
    torch.testing.assert_close(config.loss(BATCH), expected)
    written = config.identity()["parts"][1]
    assert written["objective"] == {"type": "listmle", "beta": 0.1, "top": None, "reduction": "sum", "sft_weight": 0.2}
    assert check(MixtureConfig, config.model_dump()) == config


@pytest.mark.parametrize(
    ("names", "reference", "kl"),
    [(("dpo", "simpo"), True, False), (("cpo", "simpo"), False, False), (("simpo", "kto"), True, True)],
)
def test_it_has_the_needs_and_properties_of_its_parts(names: tuple[str, ...], reference: bool, kl: bool) -> None:
    config = of(*names)
    assert (config.needs_reference, config.needs_kl) == (reference, kl)
    properties.declares_what_it_reads(config)
    properties.one_loss_a_list(config)
    properties.padding_and_neighbours(config.loss, [properties.LIST, properties.LIST[:2]], torch.nan)
    properties.empty_list(config.loss, torch.nan)
    properties.finite_differences(config.loss)
    properties.bfloat16_in_float32(config.loss)


def test_pairs_are_saturated_if_they_are_in_every_part_that_can_be() -> None:
    """Responses 1 and 4 are 14 nats apart: by ln 99 = 4.6 with beta .4, by 1.4 with .1; per token less than 1."""

    def share(*parts: dict[str, Any]) -> float | None:
        exponents = mixture(*((1.0, part) for part in parts)).exponents(fixture(1, 4))
        return list_metrics(fixture(1, 4), exponents, has_reference=True).get("saturated_pair_share")

    steep, flat, nca = {"type": "dpo", "beta": 0.4}, {"type": "listmle"}, {"type": "nca"}
    assert share(steep, steep) == share(steep, nca) == 1
    assert share(steep, flat) == share({**steep, "length_normalized": True}, nca) == 0
    assert share(nca, {"type": "target"}) is None


def test_raw_gains_of_a_part_are_refused_by_its_place() -> None:
    raw = of("listmle", "lipo_lambda")
    assert raw.needs_unit_rewards
    told = (
        r"reward 3, but .*lipo_lambda uses 2\^reward .*Set train\.objective\.parts\[1\]\.objective\.rewards to minmax"
    )
    with pytest.raises(DataError, match=told):
        check_rewards(raw, [{"prompt_id": "p", "rewards": [3.0, 0.0]}], "lists")
    assert not mixture((1, {"type": "dpo"}), (1, {"type": "lipo_lambda", "rewards": "rank"})).needs_unit_rewards


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sft_weight": 0.1}, "a mixture has no sft_weight of its own; set it in the objective of a part"),
        ({"parts": [{"objective": {"type": "dpo"}}]}, "at least 2 items"),
        ({"parts": [{"objective": {"type": "mixture", "parts": []}}] * 2}, "unknown type 'mixture'"),
        ({"parts": [{"objective": {"type": "kto", "rho": 0.1}}] * 2}, "rho means nothing for kto"),
        ({"parts": [{"objective": {"type": "dpo"}, "weight": 0}] * 2}, "greater than 0"),
    ],
)
def test_what_means_nothing_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check(MixtureConfig, {"parts": [{"objective": {"type": "dpo"}}] * 2, **changes})


def test_it_is_a_table_of_a_file_with_a_function_among_its_parts(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(batch): return -batch.policy_logps[:, 0]")
    (tmp_path / "run.toml").write_text(
        f"""
        policy = "p"
        prepare = {{ source = "s", heldout = 1 }}
        [train.objective]
        type = "mixture"
        [[train.objective.parts]]
        objective = {{ type = "listmle", top = 1, top_at_end = "all" }}
        [[train.objective.parts]]
        weight = 0.5
        objective = {{ type = "function", target = "{tmp_path}/mine.py:f" }}
        """
    )
    config: LarpoConfig = load_config(tmp_path / "run.toml")
    objective = config.train.objective
    objective.check()
    expected = loss_of("listmle", BATCH, top=2) + 0.5 * 10
    torch.testing.assert_close(objective.make()(BATCH), expected)
    assert list(functions_of(config.train)) == ["objective.parts.1.objective"]
    (tmp_path / "mine.py").write_text("def f(batch): return 1.0")
    wrong: Callable[[], None] = load_config(tmp_path / "run.toml").train.objective.check
    with pytest.raises(LarpoError, match=r"mine\.py:f gave float, not one loss for each of 2 lists"):
        wrong()
