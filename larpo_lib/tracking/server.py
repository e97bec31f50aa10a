"""The MLflow that things are delivered to. Every delivery may be done again: it finds what it made the first time.

A run is found by its tags, never by memory. A point is logged at the time at which its run began, so that MLflow keeps
it once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from larpo_lib.errors import TrackingError
from larpo_lib.tracking.client import TrackingClient, mlflow_errors, probe
from larpo_lib.tracking.data import DataSet
from larpo_lib.tracking.names import allowed
from larpo_lib.tracking.parameters import log_params
from larpo_lib.tracking.stores import experiment

PARENT, ERROR = "mlflow.parentRunId", "larpo.error"
SYSTEM = "system/"
"""How MLflow names what it says of a machine."""


@dataclass(frozen=True)
class RunRef:
    """Which run of MLflow is meant, even where MLflow does not know of it yet.

    Attributes:
        name: shown in the user interface.
        tags: by which it is found.
        started: when it began, in milliseconds since 1970; what MLflow has of a run that is there counts more.
        again: whether it is taken up again even if it was logged to its end.
        anew: whether one that was logged to its end is another one.
        parent: the run that it is nested under.
        run_id: MLflow's identity of a run that something else made; then nothing else is known of it.
    """

    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    started: int = 0
    again: bool = False
    anew: bool = False
    parent: RunRef | None = None
    run_id: str | None = None

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> RunRef:
        """The run that `asdict` states."""
        parent = stated["parent"]
        return cls(**{**stated, "parent": None if parent is None else cls.of(parent)})

    @property
    def key(self) -> str:
        """The same for all that mean the same run."""
        return json.dumps(asdict(replace(self, started=0)), sort_keys=True)


@dataclass(frozen=True)
class FoundRun:
    """A run as it was found.

    Attributes:
        run: MLflow's object.
        finished: it was logged to its end before; nothing is logged again.
    """

    run: Any
    finished: bool = False

    @property
    def run_id(self) -> str:
        """MLflow's identity of it."""
        return str(self.run.info.run_id)


class Server:
    """An MLflow server or database, and the experiment in it. It is not asked before something is to be delivered.

    Args:
        uri: where it is; may hold a password.
        name: of the experiment.
        artifacts: where a new experiment keeps its files; None: where the server says.
        parent: identity of a run whose experiment it is, in place of one of that name: MLflow shows runs as nested
            within one experiment only.
    """

    def __init__(self, uri: str, name: str, artifacts: str | None, parent: str | None) -> None:
        self.uri = uri
        self._name, self._artifacts, self._parent = name, artifacts, parent
        self._runs: dict[str, FoundRun] = {}

    @cached_property
    def client(self) -> TrackingClient:
        """Raises TrackingError where it cannot be reached."""
        return TrackingClient(self.uri)

    @cached_property
    def experiment(self) -> str:
        """Identity of the experiment, made if there is none."""
        if self._parent is not None:
            return str(self.client.get_run(self._parent).info.experiment_id)
        return experiment(self.client, self._name, self._artifacts)

    def probe(self) -> None:
        """Raise TrackingError, within seconds, where nothing answers."""
        with mlflow_errors(self.uri):
            probe(self.uri)

    def answers(self) -> bool:
        """Whether it answers, told within seconds."""
        try:
            self.probe()
        except TrackingError:
            return False
        return True

    def known(self, ref: RunRef) -> FoundRun | None:
        """A run that was found or made before, without asking."""
        return self._runs.get(ref.key)

    def run(self, ref: RunRef) -> FoundRun:
        """A run, found or made."""
        found = self.known(ref)
        if found is None:
            found = self._runs[ref.key] = self._find_or_make(ref)
        return found

    def find(self, tags: Mapping[str, str], *, unfinished: bool = False) -> Any:
        """The first run with these tags, or of those that were not logged to their end; None: there is none."""
        query = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        query += " AND attributes.status != 'FINISHED'" if unfinished else ""
        found = self.client.search_runs([self.experiment], query, max_results=1, order_by=["start_time ASC"])
        return found[0] if found else None

    def next_sample(self, ref: RunRef) -> int:
        """The number of the next sample of the machine, after those that a run has."""
        found = self.known(ref)
        samples = [] if found is None else [one for one in found.run.data._metric_objs if one.key.startswith(SYSTEM)]
        return 1 + max((one.step for one in samples), default=-1)

    def deliver(self, entry: Mapping[str, Any]) -> None:
        """Do what `Run` and `Tracker` ask for by a `kind`, the `run` that it is about, and what belongs to the kind.

        Raises:
            TrackingError: MLflow refuses or is away.
        """
        ref = RunRef.of(entry["run"])
        if entry["kind"] == "open":
            self._open(ref)
            return
        found = self.run(ref)
        if not found.finished:
            _DELIVERIES[entry["kind"]](self.client, found.run, entry)

    def _open(self, ref: RunRef) -> None:
        self._runs.pop(ref.key, None)
        found = self.run(ref)
        if ref.run_id is None and not found.finished and found.run.info.status != "RUNNING":
            self.client.update_run(found.run_id, status="RUNNING")

    def _find_or_make(self, ref: RunRef) -> FoundRun:
        if ref.run_id is not None:
            return FoundRun(self.client.get_run(ref.run_id))
        tags = {**ref.tags, **({} if ref.parent is None else {PARENT: self.run(ref.parent).run_id})}
        found = self.find(tags, unfinished=ref.anew)
        if found is None:
            return FoundRun(self.client.create_run(self.experiment, ref.started, tags, ref.name))
        return FoundRun(found, finished=found.info.status == "FINISHED" and not ref.again)


def _params(client: TrackingClient, run: Any, entry: Mapping[str, Any]) -> None:
    log_params(client, run, entry["tree"])


def _metrics(client: TrackingClient, run: Any, entry: Mapping[str, Any]) -> None:
    """Points: name, value, step, and the time where it is not that of the run."""
    from mlflow.entities import Metric

    names = allowed(name for name, *_ in entry["points"])
    points = [
        Metric(names[name], value, run.info.start_time if at is None else at, step)
        for name, value, step, at in entry["points"]
    ]
    client.log_batch(run.info.run_id, metrics=points)


def _file(client: TrackingClient, run: Any, entry: Mapping[str, Any]) -> None:
    if Path(entry["path"]).is_dir():
        client.log_artifacts(run.info.run_id, entry["path"], entry["place"])
    else:
        client.log_artifact(run.info.run_id, entry["path"], entry["place"])


def _text(client: TrackingClient, run: Any, entry: Mapping[str, Any]) -> None:
    client.log_text(run.info.run_id, entry["text"], entry["file"])


def _data(client: TrackingClient, run: Any, entry: Mapping[str, Any]) -> None:
    for run_id in filter(None, (run.info.run_id, run.data.tags.get(PARENT))):
        client.log_inputs(run_id, [DataSet(**entry["data"]).as_input()])


def _end(client: TrackingClient, run: Any, entry: Mapping[str, Any]) -> None:
    run_id = run.info.run_id
    if entry["error"]:
        client.set_tag(run_id, ERROR, entry["error"])
    elif entry["status"] == "FINISHED" and ERROR in run.data.tags:
        client.delete_tag(run_id, ERROR)
    client.set_terminated(run_id, entry["status"])


_DELIVERIES: Mapping[str, Callable[[TrackingClient, Any, Mapping[str, Any]], None]] = {
    "params": _params, "metrics": _metrics, "file": _file, "text": _text, "data": _data, "end": _end,
}  # fmt: skip
