"""Whole runs: settings in, a directory out, and what is in it as typed objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from larpo_lib import config as settings_tree
from larpo_lib.api.artifacts import Artifact
from larpo_lib.artifacts import AGAIN
from larpo_lib.caches import cache_dir
from larpo_lib.config import LarpoConfig
from larpo_lib.config.load import apply_settings, check, load_tree
from larpo_lib.early_stop import best_iteration
from larpo_lib.errors import ArtifactError, ConfigError
from larpo_lib.files import disk_errors, read_json
from larpo_lib.models.hub import local_model
from larpo_lib.plan import SUMMARY, Plan
from larpo_lib.presets import preset_file
from larpo_lib.registry import Registry
from larpo_lib.run_files import SETTINGS, read_models, read_summary
from larpo_lib.run_place import RunPlace
from larpo_lib.storage import fetch
from larpo_lib.tracking import Tracker
from larpo_lib.training.history import read_history

if TYPE_CHECKING:
    from pandas import DataFrame

TableName = Literal["candidates", "ranked", "lists", "history", "evaluated", "metrics"]
"""The tables of a run: responses as they were sampled and as they were ranked, training lists, the metrics of each
optimiser step, the responses to the held-out prompts, and the metrics of each evaluation."""

_BY_STEP = {"candidates": "candidates", "ranked": "ranked", "lists": "lists", "evaluated": "evaluation"}
"""Tables by the artifact of an iteration that holds them."""


def load_config(
    path: str | Path | None = None,
    settings: Iterable[str] | Mapping[str, Any] = (),
    *,
    preset: str | None = None,
) -> LarpoConfig:
    """Read the settings of a run.

    Args:
        path: a TOML file; None for the defaults.
        settings: what is changed of it: `section.name=value` texts as of `--set`, or a mapping whose keys are names,
            maybe with dots (`{"train.learning_rate": 1e-5}`). Mappings below it are tables, in whose keys a dot is a
            part of the name, such as `gpt-4.1` among the settings of a function.
        preset: name of a built-in preset, in place of a file.

    Raises:
        ConfigError: the file or a setting is unreadable, unknown or of the wrong type.
    """
    if path is not None and preset is not None:
        raise ConfigError("path and preset cannot be used together", remedy="Pass one of them, and change settings")
    file = preset_file(preset) if preset is not None else None if path is None else Path(path)
    if not isinstance(settings, Mapping):
        return settings_tree.load_config(file, settings)
    given: dict[str, Any] = {}
    for name, value in settings.items():
        change = _plain(value)
        for part in reversed(name.split(".")):
            change = {part: change}
        given = apply_settings(given, change, None)
    return check(LarpoConfig, apply_settings(load_tree(file), given), file)


def run_loop(config: LarpoConfig, out: str | Path, work: str | Path | None = None) -> RunResult:
    """Run the whole loop under `out`, a directory or s3:// URI, as `larpo run` does, or go on with it.

    A run that was stopped or killed continues where it was; one that is finished is read. Of a run in a store, `work`
    is a local folder for what is not kept there, such as MLflow's own database, which it needs without a server.

    Raises:
        LarpoError: settings, models, servers or data cannot be used, or a step was made with other settings.
    """
    from larpo_lib.loop import run_loop as run

    folder = None if work is None else Path(work)
    with disk_errors(RunPlace.find(out, folder).work):
        run(config, out, work=folder)
    return read_run(out, folder)


def read_run(out: str | Path, work: str | Path | None = None) -> RunResult:
    """The result of a run that is finished.

    Args:
        out: its directory or s3:// URI.
        work: of a run in a store, the local folder that it was given, if it was given one.

    Raises:
        ArtifactError: there is no finished run.
        StorageError: the store refuses the read.
    """
    place = RunPlace.find(out, None if work is None else Path(work))
    place.read()
    for name in (SETTINGS, SUMMARY):
        if not (place.work / name).is_file():
            raise ArtifactError(f"{place.root}: has no {name}", remedy="Use the directory of a finished run")
    config = settings_tree.load_config(place.work / SETTINGS)
    return RunResult(place, config, read_summary(place.work))


@dataclass(frozen=True)
class Promotion:
    """What the gate decided about a run's policy.

    Attributes:
        promoted: whether it passed the gate. A champion that does not pass it again stays champion.
        alias: `champion` or `challenger`.
        model_name: the registered model in MLflow.
        version: of that model.
        reason: in words.
        metric: that was compared.
        probability: that the policy is better than its opponent by more than the margin; None: nothing to compare with,
            or several metrics.
        tests: of several metrics what the gate says of each, as `promotion.json` holds it; `metric` is the first one.
    """

    promoted: bool
    alias: str
    model_name: str
    version: int
    reason: str
    metric: str
    probability: float | None
    tests: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, artifact: Path) -> Promotion:
        """The decision that an artifact of the step `promote` holds."""
        stated = read_json(artifact / "promotion.json", remedy=AGAIN)
        return cls(**{name: stated[name] for name in cls.__dataclass_fields__ if name != "tests" or name in stated})


@dataclass(frozen=True)
class RunResult:
    """A finished run. Of one in a store, paths are those of copies in the cache, which are only to be read.

    Attributes:
        place: where it is.
        config: its settings.
        summary: what `summary.json` holds.
    """

    place: RunPlace
    config: LarpoConfig
    summary: Mapping[str, Any]

    @property
    def out(self) -> Path:
        """Its directory; of a run in a store the folder with the files beside its artifacts."""
        return self.place.work

    @property
    def iterations(self) -> int:
        """How many iterations were made."""
        return int(self.summary["iterations"][-1]["iteration"])

    @property
    def policies(self) -> list[Path]:
        """The policies: the one that the loop began with, fetched if it is one of the hub, then that of each iteration.

        Raises:
            ModelError: it cannot be fetched.
        """
        return [self._policy(i) for i in range(self.iterations + 1)]

    @cached_property
    def evaluations(self) -> dict[int, Artifact]:
        """The evaluations by iteration; 0 is of the policy that the loop began with."""
        numbers = [row["iteration"] for row in self.summary["iterations"]]
        return {i: Artifact.open(self._plan.at(i, "evaluation")) for i in numbers}

    @property
    def promotion(self) -> Promotion:
        """What the gate decided."""
        return Promotion.read(fetch(self._plan.promotion, cache_dir()))

    @property
    def policy(self) -> Path:
        """The policy that is the run's result: the last one, or with early stopping the best one."""
        measured = {i: dict(one.metrics) for i, one in self.evaluations.items()}
        return self._policy(best_iteration(measured, self.config.loop.early_stop))

    @property
    def champion(self) -> Path | None:
        """The same policy if this run made it the champion; None if it did not."""
        return self.policy if self.promotion.promoted else None

    @property
    def report(self) -> Path:
        """The HTML report."""
        return fetch(f"{self.place.root}/report/report.html", cache_dir())

    @property
    def registry(self) -> Registry:
        """The model registry that the run's policy is in."""
        return Registry(Tracker(self.config.tracking, self.out / "mlflow").uri)

    def table(self, name: TableName) -> DataFrame:
        """One of the run's tables as a pandas data frame, with a column `iteration`.

        Raises:
            ConfigError: there is no table of this name.
            ArtifactError: a file is missing or damaged.
        """
        import pandas as pd

        if name not in get_args(TableName):
            raise ConfigError(f"a run has no table '{name}'", remedy=f"Use one of {', '.join(get_args(TableName))}")
        if name == "metrics":
            frames = {i: pd.DataFrame([dict(one.metrics)]) for i, one in self.evaluations.items()}
        elif name == "history":
            frames = {i: pd.DataFrame(read_history(self._policy(i))) for i in range(1, self.iterations + 1)}
        else:
            numbers = self.evaluations if name == "evaluated" else range(1, self.iterations + 1)
            frames = {i: Artifact.open(self._plan.at(i, _BY_STEP[name])).table(name) for i in numbers}
        parts = [
            frame.drop(columns="iteration", errors="ignore").assign(iteration=i)[
                ["iteration", *frame.columns.drop("iteration", errors="ignore")]
            ]
            for i, frame in frames.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def tables(self) -> dict[str, DataFrame]:
        """All tables of the run, as pandas data frames by their names."""
        return {name: self.table(name) for name in get_args(TableName)}

    def _policy(self, iteration: int) -> Path:
        name = self._plan.policy(iteration)
        return local_model(read_models(self.out).get(name, name))

    @property
    def _plan(self) -> Plan:
        return Plan(self.config, self.place.root)


def _plain(value: Any) -> Any:
    """Paths become text, as settings have them."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
