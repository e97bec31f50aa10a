"""What the runs of a seed share at the scale `small`: a small real language model, requests that rules check,
instructions with published preferences, and two reward models of these.

The instructions are divided by their text alone. Two fifths train the reward model that policies learn from. Two fifths
train the judge, which only measures; their prompts are those that policies are trained on. The last fifth is held out:
on its prompts policies are measured, and by its preferences both models.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt

from larpo_lib.artifacts import Metrics, read_metrics
from larpo_lib.config import LarpoConfig, ListsConfig, PrepareConfig, RewardModelConfig, Section, apply_settings
from larpo_lib.config.load import check, load_tree
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation import benchmarks
from larpo_lib.evaluation.score_reward_model.settings import ScoreRewardModelConfig
from larpo_lib.files import make_directory, read_json, write_json, write_json_lines
from larpo_lib.models import hub
from larpo_lib.playground.requests import make_other_requests, make_requests
from larpo_lib.playground.smollm import HUB_NAME, find_smollm
from larpo_lib.playground.world import AGAIN
from larpo_lib.presets import FOLDER
from larpo_lib.progress import tell
from larpo_lib.reporting.table import interval
from larpo_lib.statistics.estimates import Estimate
from larpo_lib.steps import build_lists, prepare, reward_model
from larpo_lib.studies.preferences import steps
from larpo_lib.studies.preferences.steps import FoldConfig
from larpo_lib.studies.study import Cell

_FOLDS, _HELD_OUT = 5, 4
_MODELS = {"reward-model": "lessons", "judge": "instructions"}
"""Each with the part of the instructions that trains it."""


class SmallWorld(Section):
    """What decides it."""

    preferences: str
    """A file of instructions, each with several responses and their scores, which is to be brought along."""
    requests: PositiveInt
    """Requests to train on."""
    heldout_requests: PositiveInt
    """Requests of the same kinds of rules, on other subjects."""
    other_requests: PositiveInt
    """Requests of other kinds of rules."""
    heldout_instructions: PositiveInt
    """Of the instructions that are held out, how many policies are measured on."""
    reward_model: Mapping[str, Any] = Field(default_factory=dict)
    """How the reward model and the judge are trained, as the section `reward_model` has it."""

    def require(self) -> None:
        """Check that the preferences are there.

        Raises:
            ConfigError: they are not.
        """
        if not Path(self.preferences).is_file():
            raise ConfigError(
                f"{self.preferences}: no such file; the reward models of the scale small are trained on it",
                remedy="Pass --set world.preferences=FILE; docs/reproduce.md says what it is",
            )

    def training(self, cell: Cell) -> RewardModelConfig:
        """The settings of both reward models, which are loaded as the cell loads models."""
        model = {"model": dict(cell.settings.get("model", {}))}
        own = apply_settings(model, dict(self.reward_model))
        tree = apply_settings(dict(cell.settings), {"reward_model": own})
        return check(LarpoConfig, tree).reward_model.model_copy(update={"seed": 0})


def load_world(over: Mapping[str, Any]) -> SmallWorld:
    """The settings of the world, with `over` over them.

    Raises:
        ConfigError: they are none.
    """
    path = FOLDER / "small" / "world.toml"
    return check(SmallWorld, apply_settings(load_tree(path), dict(over)), path if not over else None)


def choose_policy(name: str, out: Path) -> str:
    """Where the policy of a study is, looked for once: on the hub with a commit, or a directory.

    Args:
        name: the setting `policy`.
        out: directory of the study, in which the choice is noted.
    """
    noted = out / "policy.json"
    known = read_json(noted, remedy=AGAIN) if noted.exists() else {}
    if known.get("name") != name:
        known = {"name": name, "policy": find_smollm() if name == HUB_NAME else hub.pin(name)}
        make_directory(out)
        write_json(noted, known)
    return str(known["policy"])


def make_small_world(directory: Path, world: SmallWorld, cell: Cell) -> None:
    """Make what is not there yet, each part an artifact or a file of its own; the same settings give the same bytes.

    Args:
        directory: to write to.
        world: what decides it.
        cell: one of the seed's, whose way to load models is taken.
    """
    make_directory(directory)
    _requests(directory, world, cell.seed)
    policy = hub.local_model(cell.config().policy)
    everything, rest = directory / "preferences", directory / "rest"
    ranked = directory / "preferences-ranked"
    prepare.ranked(PrepareConfig(source=world.preferences), prompts=everything, ranked=ranked)
    _part(everything, ranked, directory / "heldout-all", FoldConfig(folds=_FOLDS, fold=_HELD_OUT, heldout=True))
    _part(everything, ranked, rest, FoldConfig(folds=_FOLDS, fold=_HELD_OUT, heldout=False))
    for model, name in _MODELS.items():
        part, lists = directory / name, directory / f"{name}-lists"
        _part(rest, rest, part, FoldConfig(folds=2, fold=0, heldout=name == "lessons"))
        _lists(part, lists)
        if not (directory / model).exists():
            tell(f"{model}: is trained on preferences")
        reward_model.run(world.training(cell), policy=policy, lists=lists, trained=directory / model)
    _lists(directory / "heldout-all", directory / "heldout-lists")
    source = str(directory / "heldout-all" / "prompts.parquet")
    asked = PrepareConfig(source=source, limit=world.heldout_instructions)
    prepare.run(asked, prompts=directory / "heldout")


def measure_models(directory: Path, cell: Cell) -> None:
    """Publish how the reward models of a world order the held-out lists."""
    for model in _MODELS:
        how = {"model": dict(cell.settings.get("model", {})), "max_tokens": 512, "batch_tokens": 4096}
        reranker = {"type": "classifier", "path": str(directory / model), **how}
        config = check(ScoreRewardModelConfig, {"reranker": reranker})
        lists, evaluation = directory / "heldout-lists", directory / f"{model}-quality"
        benchmarks()["score_reward_model"].step.run(config, lists=lists, evaluation=evaluation)


def quality(directory: Path) -> list[str]:
    """What `measure_models` found, a sentence for each model."""
    found = {model: read_metrics(directory / f"{model}-quality") for model in _MODELS}
    return [
        f"Of the pairs among the two best and the two worst responses to a held-out instruction, the "
        f"{model.replace('-', ' ')} orders {interval(_pair_accuracy(metrics))} as the published preferences do; "
        "chance is 0.5."
        for model, metrics in found.items()
    ]


def _pair_accuracy(metrics: Metrics) -> Estimate:
    return Estimate(*(metrics.get(f"pair_accuracy{suffix}") for suffix in ("", "_low", "_high")))


def _requests(directory: Path, world: SmallWorld, seed: int) -> None:
    trained, heldout = make_requests(world.requests, world.heldout_requests, seed)
    other = make_other_requests(world.other_requests, seed)
    for name, rows in (("requests", trained), ("heldout-requests", heldout), ("other-requests", other)):
        _write_once(directory / f"{name}.jsonl", rows)
    source, kept = str(directory / "other-requests.jsonl"), {"keep": ("instruction_id_list", "kwargs")}
    prepare.run(check(PrepareConfig, {"source": source, "columns": kept}), prompts=directory / "other-rules")


def _write_once(path: Path, rows: list[dict[str, Any]]) -> None:
    if not path.exists():
        write_json_lines(path, rows)
    there = path.read_text("utf-8").split("\n")[:-1]
    if there != [json.dumps(row, ensure_ascii=False) for row in rows]:
        raise ConfigError(
            f"{path}: has {len(there)} requests, which are not the {len(rows)} that the settings of the world give",
            remedy="Undo the change of --set world. ..., or choose another --out",
        )


def _part(prompts: Path, ranked: Path, part: Path, config: FoldConfig) -> None:
    steps.fold(config, prompts=prompts, ranked=ranked, part=part)


def _lists(part: Path, lists: Path) -> None:
    """The two best and the two worst responses to each instruction."""
    selection = {"type": "top_bottom", "top": 2, "bottom": 2}
    config = check(ListsConfig, {"selection": selection, "memory": "current"})
    build_lists.run(config, prompts=part, ranked=[part], lists=lists)
