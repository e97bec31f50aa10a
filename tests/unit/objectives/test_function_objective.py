"""A user's own function as an objective."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from list_batches import fixture

from larpo_lib.config import LarpoConfig, ObjectiveConfig, load_config
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.objectives.function import FunctionObjectiveConfig
from larpo_lib.objectives.listwise import lambdarank

Make = Callable[..., FunctionObjectiveConfig]

HINGE = """
import torch
from larpo_lib.objectives.masked import differences, log_ratios, ordered_pairs
from larpo_lib.objectives.terms import reduce_terms

def f(batch, beta=0.1, margin: float = 1.0):
    return reduce_terms(torch.relu(margin - differences(beta * log_ratios(batch))), ordered_pairs(batch), "sum")
"""


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(source: str, **settings: Any) -> FunctionObjectiveConfig:
        (tmp_path / "mine.py").write_text(textwrap.dedent(source))
        return FunctionObjectiveConfig(target=f"{tmp_path}/mine.py:f", settings=settings)

    return make


def test_a_plain_function_is_one_and_its_arguments_are_settings(make: Make) -> None:
    """By hand: responses 1 and 4 have log-ratios 4 and -10; max(0, 1 - .05 * 14) is .3."""
    config = make(HINGE, beta=0.05)
    config.check()
    assert config.make()(fixture(1, 4)).item() == pytest.approx(0.3)
    assert (config.needs_reference, config.needs_kl, config.needs_unit_rewards) == (True, False, False)
    assert config.in_words == "mine.py:f"
    assert config.identity() == {"type": "function", "target": "mine.py:f", "settings": {"beta": 0.05}}


def test_options_stand_beside_its_settings(make: Make) -> None:
    """A `margin` of its own stays its own; the NLL of the best is 10 nats in 10 tokens."""
    config = make(HINGE, beta=0.05, margin=1.0, sft_weight=0.5, reference_free=True)
    config.check()
    assert not config.needs_reference
    assert config.make()(fixture(1, 4)).item() == pytest.approx(max(0, 1 - 0.05 * 20) + 0.5)
    assert config.identity()["settings"] == {"beta": 0.05, "margin": 1.0, "sft_weight": 0.5, "reference_free": True}


@pytest.mark.parametrize(
    ("source", "settings", "told"),
    [
        ("def f(batch): return 1.0", {"sft_weight": 1.0}, r"mine\.py:f gave float, not one loss for each of 2 lists"),
        (
            "def f(batch): return batch.policy_logps[:, 0]",
            {"margin": 1.0, "rewards": "rank"},
            r"margin changes nothing in mine\.py:f\. Remove margin, or read the batch as larpo_lib\.objectives\.masked",
        ),
        (
            "def f(batch): return batch.policy_logps[:, 0]",
            {"rewards": "rank"},
            r"mine\.py:f: rewards is the scale of the margin, which is not set; set a margin, or remove rewards",
        ),
        (
            "import larpo_lib\n@larpo_lib.objectives.objective(needs_kl=True)\ndef f(batch): return batch.kl_baseline",
            {"length_normalized": True},
            r"mine\.py:f: length_normalized means nothing for f: it compares log-ratios of whole responses",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(make: Make, source: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(LarpoError, match=told):
        make(source, **settings).check()


def test_what_it_needs_it_says_as_our_own_do(make: Make) -> None:
    config = make(
        """
        from larpo_lib.objectives import objective
        @objective(needs_reference=False, needs_kl=True, exponential_gains=True)
        def f(batch, *, rewards: str = "raw"):
            return batch.policy_logps.masked_fill(~batch.mask, 0).sum(dim=1) - batch.kl_baseline
        """
    )
    config.check()
    assert (config.needs_reference, config.needs_kl, config.needs_unit_rewards) == (False, True, True)
    assert not config.model_copy(update={"settings": {"rewards": "minmax"}}).needs_unit_rewards


def test_one_of_ours_can_be_a_target() -> None:
    config = FunctionObjectiveConfig(target="larpo_lib.objectives.listwise:lambdarank", settings={"top": 2})
    assert torch.equal(config.loss(fixture(1, 2, 3, 4)), lambdarank(fixture(1, 2, 3, 4), top=2))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"margins": 1}, r"mine\.py:f: unknown setting 'margins'\. Did you mean 'margin'"),
        ({"margin": "wide"}, r"mine\.py:f: setting 'margin': Input should be a valid number.*not 'wide'"),
    ],
)
def test_settings_that_do_not_fit_are_told(make: Make, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(HINGE, **settings).check()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "def f(batch): return 1.0",
            r"mine\.py:f gave float, not one loss for each of 2 lists: a tensor of shape \(2,",
        ),
        ("def f(batch): return batch.policy_logps.sum()", r"gave a tensor of shape \(\), not one loss for each of 2"),
        ("def f(batch): return batch.policy_logps", r"gave a tensor of shape \(2, 3\)"),
        ("def f(batch): return batch.mask.sum(dim=1)", r"gave a tensor of torch\.int64"),
        ("def f(batch): return batch.rewards.sum(dim=1)", r"mine\.py:f gives a loss without a gradient"),
        (
            "\ndef f(batch):\n    return batch.logps",
            r"raised AttributeError: .* \(.*mine\.py, line 3\)\. Fix the function",
        ),
        ("def f(): return 1", r"the arguments of 'mine\.py:f' cannot be settings: .* Write it like def hinge\(batch"),
        ("def f(batch, type): return 1", r"cannot be settings: 'type' is a name that all settings have"),
        ("def f(batch, loss=1): return 1", r"cannot be settings: 'loss' is a name that all"),
        ("from __future__ import annotations\ndef f(batch, a: Nowhere): ...", r"cannot be settings: name 'Nowhere'"),
        ("def f(batch, goal): return 1", r"mine\.py:f: setting 'goal' is missing\. Change settings"),
    ],
)
def test_what_is_no_objective_is_refused_by_the_check(make: Make, source: str, told: str) -> None:
    with pytest.raises(LarpoError, match=told):
        make(source).check()


def test_of_a_finished_run_its_file_is_not_needed() -> None:
    config: ObjectiveConfig = FunctionObjectiveConfig(target="nowhere.py:f")
    assert config.needs_reference
    with pytest.raises(ConfigError, match=r"nowhere\.py: no such file"):
        config.check()


def test_it_is_chosen_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HINGE)
    chosen = [f"train.objective.target={tmp_path}/mine.py:f", "train.objective.settings.margin=2"]
    stated = ["policy=p", "prepare.source=s", "prepare.heldout=1", "train.objective.type=function", *chosen]
    config: LarpoConfig = load_config(None, stated)
    assert config.train.objective.loss(fixture(1, 4)).item() == pytest.approx(0.6)
