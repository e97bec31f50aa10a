"""MLflow runs: one for the whole run, and nested under it one for each step of each iteration.

A run killed at any instant takes its MLflow runs up again when restarted: they are found by tags, never by memory, and
every metric point carries the start time of its run, so that logging it twice is logging it once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from larpo_lib.artifacts import Metrics
from larpo_lib.config import TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.tracking.client import TrackingClient, one_line, redact

RUN_KEY, STEP, ITERATION, ERROR = "larpo.run_key", "larpo.step", "larpo.iteration", "larpo.error"

PARENT = "mlflow.parentRunId"


class Run:
    """One MLflow run that is being logged to.

    Attributes:
        run_id: MLflow's identity of it.
        uri: as of `Tracker`.
        started: when it began, in milliseconds since 1970.
        finished: an earlier process logged it to its end; logging again does nothing.
    """

    def __init__(self, client: TrackingClient, run: Any, *, finished: bool = False) -> None:
        self._client = client
        self.uri = client.uri
        self.started: int = run.info.start_time
        self.run_id: str = run.info.run_id
        self.finished = finished

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Log numbers; None is skipped.

        Raises:
            TrackingError: a value is not finite, or MLflow refuses.
        """
        self._log(self._points(metrics, step or 0))

    def log_curve(self, rows: Sequence[Mapping[str, float | None]]) -> None:
        """Log a training history: rows with a `step` each, the other keys being metrics."""
        points = []
        for number, row in enumerate(rows):
            step = row.get("step")
            if step is None:
                raise TrackingError(f"row {number} of the training history has no 'step': {dict(row)}")
            points += self._points({name: value for name, value in row.items() if name != "step"}, int(step))
        self._log(points)

    def log_artifact(self, path: Path) -> None:
        """Upload a file."""
        if not self.finished:
            self._client.log_artifact(self.run_id, str(path))

    def log_artifacts(self, directory: Path, place: str | None = None) -> None:
        """Upload the files of a directory, to the folder `place` of the run."""
        if not self.finished:
            self._client.log_artifacts(self.run_id, str(directory), place)

    def _points(self, metrics: Mapping[str, float | None], step: int) -> list[Any]:
        from mlflow.entities import Metric

        defined = {name: float(value) for name, value in metrics.items() if value is not None}
        for name, value in defined.items():
            if not math.isfinite(value):
                raise TrackingError(
                    f"metric '{name}' is {value} at step {step}",
                    remedy="Check the step that reported it: a loss that is not finite usually means that the learning "
                    "rate is too high",
                )
        return [Metric(name, value, self.started, step) for name, value in sorted(defined.items())]

    def _log(self, points: list[Any]) -> None:
        if not self.finished:
            self._client.log_batch(self.run_id, metrics=points)


class Tracker:
    """Logs a run to MLflow.

    Args:
        config: where to log.
        store: directory that holds the runs' database and artifacts if no other place is named.
        parent: identity of the run that steps are nested under, where another process began it; else MLFLOW_RUN_ID.

    Attributes:
        uri: where MLflow is; may hold a password, so pass it through `redact` before showing it.

    Raises:
        TrackingError: there is no MLflow at the place named.
    """

    def __init__(self, config: TrackingConfig, store: Path, parent: str | None = None) -> None:
        self.uri = resolve_uri(config, store)
        own_store = self.uri == _own_store(store)
        if own_store:
            store.mkdir(parents=True, exist_ok=True)
        self._client = TrackingClient(self.uri)
        self._parent = parent or os.environ.get("MLFLOW_RUN_ID")
        if self._parent is not None:  # MLflow shows runs as nested within one experiment only
            self._experiment = str(self._client.get_run(self._parent).info.experiment_id)
        else:
            artifacts = (store / "artifacts").absolute().as_uri() if own_store else None
            self._experiment = _experiment(self._client, config.experiment, artifacts)

    @contextmanager
    def run(self, name: str, key: str, config: BaseModel) -> Iterator[Run]:
        """The run that all steps are nested under.

        If MLFLOW_RUN_ID is set it is that run, which is left for its maker to end.

        Args:
            name: shown in the user interface.
            key: identity of the run; a run with this key is taken up again.
            config: logged as parameters and as `config.json`.
        """
        if self._parent is not None:
            given = self._client.get_run(self._parent)
            self._log_config(given, config)
            yield Run(self._client, given)
            return
        with self.standalone_run(name, key, config) as run:
            self._parent = run.run_id
            try:
                yield run
            finally:
                self._parent = None

    def start_run(self, name: str, key: str, config: BaseModel) -> str:
        """Make the run that `run` would make, or find it, and leave it open for other processes to nest steps under.

        Returns:
            Its identity: their `parent`.
        """
        found = self._find({RUN_KEY: key}) or self._create(name, {RUN_KEY: key})
        if found.info.status != "RUNNING":
            self._client.update_run(found.info.run_id, status="RUNNING")
        self._log_config(found, config)
        return str(found.info.run_id)

    def open_run(self) -> Run:
        """The run that is open, or that another process left open.

        Raises:
            TrackingError: there is none.
        """
        if self._parent is None:
            raise TrackingError("no run is open", remedy="Set MLFLOW_RUN_ID to an MLflow run")
        return Run(self._client, self._client.get_run(self._parent))

    def end_run(self, status: Literal["FINISHED", "FAILED"], report: str, cause: str = "") -> None:
        """End the run that another process left open.

        Args:
            status: how it ended.
            report: kept with it as `final_report.md`.
            cause: of a failure, in one line.
        """
        run_id = self.open_run().run_id
        self._client.log_text(run_id, report, "final_report.md")
        if cause:
            self._client.set_tag(run_id, ERROR, cause)
        elif ERROR in self._client.get_run(run_id).data.tags:
            self._client.delete_tag(run_id, ERROR)
        self._client.set_terminated(run_id, status)

    def run_url(self, run_id: str) -> str:
        """Where a run is to be seen: a page of the server, else MLflow's URI of it. Holds no password."""
        if not self.uri.startswith("http"):
            return f"runs:/{run_id}"
        return redact(f"{self.uri.rstrip('/')}/#/experiments/{self._experiment}/runs/{run_id}")

    @contextmanager
    def step(self, step: str, iteration: int | None) -> Iterator[Run]:
        """The run of one step, nested under the run that is open, or under MLFLOW_RUN_ID.

        Raises:
            TrackingError: there is no run to nest it under.
        """
        if self._parent is None:
            raise TrackingError(f"step '{step}' has no parent run", remedy="Set MLFLOW_RUN_ID to an MLflow run")
        tags = {PARENT: self._parent, STEP: step, ITERATION: "none" if iteration is None else str(iteration)}
        found = self._find(tags)
        if found is not None and found.info.status == "FINISHED":
            yield Run(self._client, found, finished=True)
            return
        found = found or self._create(step if iteration is None else f"{step}-{iteration}", tags)
        with self._ended(found):
            yield Run(self._client, found)

    @contextmanager
    def standalone_run(self, name: str, key: str, config: BaseModel) -> Iterator[Run]:
        """A run of its own for one artifact, nested under MLFLOW_RUN_ID where that is set.

        Args:
            name: shown in the user interface.
            key: identity of what is logged; a run with this key is taken up again.
            config: logged as parameters and as `config.json`.
        """
        tags = {RUN_KEY: key, **({} if self._parent is None else {PARENT: self._parent})}
        found = self._find(tags) or self._create(name, tags)
        with self._ended(found):
            self._log_config(found, config)
            yield Run(self._client, found)

    def _find(self, tags: Mapping[str, str]) -> Any:
        query = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = self._client.search_runs([self._experiment], query, max_results=1, order_by=["start_time ASC"])
        return found[0] if found else None

    def _create(self, name: str, tags: Mapping[str, str]) -> Any:
        return self._client.create_run(self._experiment, run_name=name, tags=dict(tags))

    @contextmanager
    def _ended(self, run: Any) -> Iterator[None]:
        """Mark a run as running, and as finished or failed at the end."""
        run_id = run.info.run_id
        if run.info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")
        try:
            yield
        except BaseException as error:
            try:
                self._client.set_tag(run_id, ERROR, one_line(error))
                self._client.set_terminated(run_id, "FAILED")
            except TrackingError as second:  # the first error is the one to mend
                error.add_note(str(second))
            raise
        if ERROR in run.data.tags:
            self._client.delete_tag(run_id, ERROR)
        self._client.set_terminated(run_id, "FINISHED")

    def _log_config(self, run: Any, config: BaseModel) -> None:
        from mlflow.entities import Param
        from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

        tree = config.model_dump(mode="json")
        if tree.get("tracking", {}).get("uri") is not None:
            tree["tracking"]["uri"] = redact(tree["tracking"]["uri"])
        # MLflow refuses to change a parameter, so a run taken up again keeps the ones it has.
        new = {name: value for name, value in flatten(tree) if name not in run.data.params}
        params = [Param(name, value[:MAX_PARAM_VAL_LENGTH]) for name, value in new.items()]
        self._client.log_batch(run.info.run_id, params=params)
        self._client.log_text(run.info.run_id, json.dumps(tree, indent=2, sort_keys=True) + "\n", "config.json")


def resolve_uri(config: TrackingConfig, store: Path) -> str:
    """Where MLflow is: `config.uri`, else MLFLOW_TRACKING_URI, else a SQLite database in `store`."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or _own_store(store)


def _own_store(store: Path) -> str:
    return f"sqlite:///{store.absolute() / 'mlflow.db'}"


def _experiment(client: TrackingClient, name: str, artifacts: str | None) -> str:
    """Identity of the experiment `name`, made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except TrackingError:
            found = client.get_experiment_by_name(name)  # another process may have made it just now
            if found is None:
                raise
    return str(found.experiment_id)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as MLflow's parameters: `a.b` and a text for each, by name."""
    for name, value in sorted(tree.items()):
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)
