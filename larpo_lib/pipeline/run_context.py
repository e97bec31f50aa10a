"""What every component of a run can know: where the run lives, its settings, its MLflow run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from larpo_lib.artifacts import Metrics
from larpo_lib.config import LarpoConfig, Section
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.journal import Journal
from larpo_lib.plan import Plan
from larpo_lib.storage import is_remote
from larpo_lib.tracking import Tracker

_FILE = "context.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class RunContext(Section):
    """What is kept of a request in the run's root; a component is told where. Holds no secret."""

    job: str
    """Identity of the Kubeflow run. A request of an earlier one for the same root has a context of its own."""
    root: str
    """The run's own directory or s3:// URI."""
    name: str
    """What the run's objects in the cluster are labelled with, for people; runs of other roots may have it, too."""
    shown: str | None
    """Artifacts below this folder, KFP's own of the run, can be shown as KFP's; empty: any; null: none."""
    parent: str
    """The MLflow run that the steps are nested under."""
    config: LarpoConfig
    resources: dict[str, str] = Field(default_factory=dict)
    """Of each node where training runs on several."""
    shared: str = ""
    """Root of what it shares with other runs of a study."""
    policies: tuple[str, ...] = ()
    """Those that the run was given rather than made; the first one, which may be empty, is the one to compare with."""
    shards: int = 1
    """Pods that share a round's sampling, and its reranking."""
    members: tuple[str, ...] = ()
    """Names of the runs that make up a study."""
    grid: tuple[str, ...] = ()
    """What each of them changes, as JSON."""

    @classmethod
    def begin(cls, job: str, place: Place, config: LarpoConfig, title: str, *, shared: str = "", **more: Any) -> str:
        """Find or make a run's MLflow run, and leave the context in the run's root.

        Args:
            job: as `place`, `config`, `shared` and `more`: what the context holds.
            title: of the MLflow run.

        Returns:
            Where it is, which is all that the run's tasks are told.
        """
        parent = _tracker(config, shared or place.root).start_run(title, place.key, config)
        known = {"job": job, "root": place.root, "name": place.name, "shown": place.shown, "shared": shared}
        return cls(**known, parent=parent, config=config, **more).keep()

    @classmethod
    def at(cls, run: str) -> RunContext:
        """The context that `keep` left at `run`.

        Raises:
            StorageError: there is none, or it cannot be read.
        """
        return cls.model_validate(files.read(run, _FILE))

    @classmethod
    def find(cls, root: str, job: str) -> RunContext | None:
        """The context of a Kubeflow run in a root, if that run came so far."""
        place = _place(root, job)
        return cls.at(place) if place in files.directories(place, _FILE) else None

    def keep(self) -> str:
        """Leave the context in the run's root; returns where, which is all that the run's tasks are told."""
        place = _place(self.root, self.job)
        files.write(place, _FILE, self.model_dump(mode="json"))
        return place

    def member(self, number: int) -> str:
        """Where the context is of one run of a study, from 1 on."""
        return _place(member_root(self.root, number), self.job)

    @property
    def journal(self) -> Journal:
        """Notes of what its tasks do."""
        return Journal(self.root, self.job)

    @property
    def plan(self) -> Plan:
        """The run's calls."""
        return Plan(self.config, self.root, self.shared, self.policies)

    def tracker(self) -> Tracker:
        """MLflow, with the run open; it may be away."""
        return _tracker(self.config, self.shared or self.root, self.parent)

    def log(self, metrics: Metrics, step: int | None = None) -> None:
        """Log numbers to the run's MLflow run; while it is away, they wait beside the run."""
        tracker = self.tracker()
        tracker.open_run().log_metrics(metrics, step)
        tracker.settle()


@dataclass(frozen=True)
class Started:
    """What the tasks of a run are told. Nothing but text: Kubeflow hands on nothing else as it is.

    Attributes:
        run: where the context is.
    """

    run: str


@dataclass(frozen=True)
class Place:
    """Where a run lives.

    Attributes:
        root: the run's own directory or s3:// URI.
        name: what the run's objects in the cluster are labelled with.
        shown: as in the context.
    """

    root: str
    name: str
    shown: str | None

    @classmethod
    def find(cls, root: str, run_id: str, job: str, example: str) -> Place:
        """From the parameters of the pipeline.

        Args:
            root: where runs live; empty: the folder that KFP gave the run.
            run_id: name of the run below root; empty: `job`.
            job: identity of the run in Kubeflow.
            example: URI of one of KFP's own artifacts of the run.

        Raises:
            ConfigError: a name or a place cannot be used.
        """
        folder, found, _ = example.partition(f"/{job}/")
        if not is_remote(example):
            shown: str | None = ""
        else:
            shown = f"{folder}/{job}" if found else None  # KFP's launcher ends a task with an artifact elsewhere
        if root:
            if not (root.startswith("s3://") or Path(root).is_absolute()):
                raise ConfigError(f"root is '{root}'", remedy="Set an s3:// URI or an absolute path")
            name = run_id or job
            if _NAME.fullmatch(name) is None:
                raise ConfigError(f"run_id is '{name}'", remedy="Use letters, digits, '.', '_' and '-'")
            return cls(f"{root.rstrip('/')}/{name}", name, shown)
        if run_id:
            raise ConfigError(
                f"run_id is '{run_id}', but root is empty", remedy="Set root, the folder that contains the run"
            )
        if not found or not example.startswith("s3://"):
            raise ConfigError(
                f"root is empty, and the pipeline root ('{example}') cannot be used for runs",
                remedy="Set root to an s3:// URI",
            )
        return cls(f"{folder}/{job}/run", job, shown)

    @property
    def key(self) -> str:
        """The identity under which MLflow finds the run again."""
        return hashlib.sha256(self.root.encode()).hexdigest()[:32]


def store(root: str) -> Path:
    """Where MLflow's own database goes where there is no server; only a run on a disk can have one."""
    return Path("mlflow") if is_remote(root) else Path(root) / "mlflow"


def _tracker(config: LarpoConfig, root: str, parent: str | None = None) -> Tracker:
    beside = f"{root}/mlflow" if is_remote(root) else None
    return Tracker(config.tracking, store(root), parent, begun=parent is not None, beside=beside)


def member_root(root: str, number: int) -> str:
    """Root of one run of a study, from 1 on."""
    return f"{root}/members/{number}"


def _place(root: str, job: str) -> str:
    return f"{root}/contexts/{job}"
