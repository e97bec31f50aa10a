"""MLflow runs: one for the whole run, and nested under it one for each step of each iteration.

A run killed at any instant takes its MLflow runs up again when restarted: they are found by tags, never by memory, and
every metric point carries the start time of its run, so that logging it twice is logging it once.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from larpo_lib.artifacts import Metrics
from larpo_lib.config import TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.redaction import redact
from larpo_lib.signals import INTERRUPTS
from larpo_lib.tracking.client import TrackingClient, one_line
from larpo_lib.tracking.data import DataSet
from larpo_lib.tracking.parameters import log_params
from larpo_lib.tracking.stores import experiment, own_store, resolve_uri
from larpo_lib.tracking.system import system_metrics

RUN_KEY, STEP, ITERATION, ERROR = "larpo.run_key", "larpo.step", "larpo.iteration", "larpo.error"

PARENT = "mlflow.parentRunId"


class Run:
    """One MLflow run that is being logged to.

    Attributes:
        run_id: MLflow's identity of it.
        uri: as of `Tracker`.
        started: when it began, in milliseconds since 1970.
        parent: identity of the run that it is nested under; None: of none.
        finished: an earlier process logged it to its end; logging again does nothing.
    """

    def __init__(self, client: TrackingClient, run: Any, *, finished: bool = False) -> None:
        self._client = client
        self.uri = client.uri
        self.started: int = run.info.start_time
        self.run_id: str = run.info.run_id
        self.parent: str | None = run.data.tags.get(PARENT)
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

    def log_data(self, data: DataSet) -> None:
        """Show with this run, and with the one above it, which data it uses."""
        if not self.finished:
            for run_id in filter(None, (self.run_id, self.parent)):
                self._client.log_inputs(run_id, [data.as_input()])

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
        self._config = config
        own = self.uri == own_store(store)
        if own:
            store.mkdir(parents=True, exist_ok=True)
        self._client = TrackingClient(self.uri)
        self._parent = parent or os.environ.get("MLFLOW_RUN_ID")
        if self._parent is not None:  # MLflow shows runs as nested within one experiment only
            self._experiment = str(self._client.get_run(self._parent).info.experiment_id)
        else:
            artifacts = (store / "artifacts").absolute().as_uri() if own else None
            self._experiment = experiment(self._client, config.experiment, artifacts)

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

    def end_run(self, status: Literal["FINISHED", "FAILED", "KILLED"], report: str, cause: str = "") -> None:
        """End the run that another process left open, and the steps' that nobody else has ended.

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
        for step in self._client.search_runs(
            [self._experiment], f"tags.`{PARENT}` = '{run_id}' AND attributes.status = 'RUNNING'"
        ):
            self._client.set_terminated(step.info.run_id, "KILLED")
        self._client.set_terminated(run_id, status)

    def run_url(self, run_id: str) -> str:
        """Where a run is to be seen: a page of the server, else MLflow's URI of it. Holds no password."""
        if not self.uri.startswith("http"):
            return f"runs:/{run_id}"
        return redact(f"{self.uri.rstrip('/')}/#/experiments/{self._experiment}/runs/{run_id}")

    @contextmanager
    def step(
        self, step: str, iteration: int | None, settings: Mapping[str, BaseModel | None] | None = None
    ) -> Iterator[Run]:
        """The run of one step, nested under the run that is open, or under MLFLOW_RUN_ID.

        Args:
            step: its name.
            iteration: it belongs to.
            settings: of the step, by the name of their section; logged as parameters.

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
        with self._ended(found), self._monitored(found):
            given = {name: section for name, section in (settings or {}).items() if section is not None}
            log_params(self._client, found, {name: section.model_dump(mode="json") for name, section in given.items()})
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
        """Mark a run as running, and as finished, failed, or killed by an interrupt at the end."""
        run_id = run.info.run_id
        if run.info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")
        try:
            yield
        except BaseException as error:
            try:
                if isinstance(error, INTERRUPTS):
                    self._client.set_terminated(run_id, "KILLED")
                else:
                    self._client.set_tag(run_id, ERROR, one_line(error))
                    self._client.set_terminated(run_id, "FAILED")
            except TrackingError as second:  # the first error is the one to mend
                error.add_note(str(second))
            raise
        if ERROR in run.data.tags:
            self._client.delete_tag(run_id, ERROR)
        self._client.set_terminated(run_id, "FINISHED")

    def _monitored(self, run: Any) -> AbstractContextManager[None]:
        return system_metrics(self.uri, run.info.run_id) if self._config.system_metrics else nullcontext()

    def _log_config(self, run: Any, config: BaseModel) -> None:
        tree = config.model_dump(mode="json")
        if tree.get("tracking", {}).get("uri") is not None:
            tree["tracking"]["uri"] = redact(tree["tracking"]["uri"])
        log_params(self._client, run, tree)
        self._client.log_text(run.info.run_id, json.dumps(tree, indent=2, sort_keys=True) + "\n", "config.json")
