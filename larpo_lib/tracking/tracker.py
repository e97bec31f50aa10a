"""MLflow runs: one for the whole run, and nested under it one for each step of each iteration.

A run killed at any instant takes its MLflow runs up again when restarted. While MLflow is away, a run goes on: what is
logged waits in the store's folder `waiting`.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from larpo_lib.config import TrackingConfig
from larpo_lib.errors import HeldError, StorageError, TrackingError
from larpo_lib.redaction import redact
from larpo_lib.signals import INTERRUPTS
from larpo_lib.tracking.client import one_line
from larpo_lib.tracking.outbox import Outbox
from larpo_lib.tracking.relocation import artifacts_of
from larpo_lib.tracking.runs import Run
from larpo_lib.tracking.server import ERROR, PARENT, RunRef, Server
from larpo_lib.tracking.stores import own_store, resolve_uri
from larpo_lib.tracking.system import system_metrics

RUN_KEY, STEP, ITERATION = "larpo.run_key", "larpo.step", "larpo.iteration"

_AT_THE_END_S = 2.0
"""Seconds that a process waits for MLflow which somebody stopped."""


class Tracker:
    """Logs a run to MLflow.

    Args:
        config: where to log.
        store: directory that holds the runs' database and artifacts if no other place is named, and what waits.
        parent: identity of the run that steps are nested under, where another process began it; else MLFLOW_RUN_ID.
        begun: whether the run was logged before, so that it may go on while MLflow is away.
        beside: s3:// URI of the run's folder for MLflow in a store, where what waits outlives this machine.

    Attributes:
        uri: where MLflow is; may hold a password, so pass it through `redact` before showing it.

    Raises:
        TrackingError: there is no MLflow at the place named.
    """

    def __init__(
        self,
        config: TrackingConfig,
        store: Path,
        parent: str | None = None,
        *,
        begun: bool = False,
        beside: str | None = None,
    ) -> None:
        self.uri = resolve_uri(config, store)
        self._config = config
        own = self.uri == own_store(store)
        if own:
            store.mkdir(parents=True, exist_ok=True)
        parent = parent or os.environ.get("MLFLOW_RUN_ID")
        artifacts = artifacts_of(store) if own else None
        self._server = Server(self.uri, config.experiment, artifacts, parent)
        self._parent = None if parent is None else RunRef(run_id=parent)
        self._parent_elsewhere = parent is not None
        try:
            assert self._server.experiment
        except TrackingError as error:
            if not (begun and error.transient):
                raise
        self._outbox = Outbox(self._server, store, beside)

    def deliver(self) -> None:
        """Deliver all that waits. Raises TrackingError where MLflow is away, after seconds."""
        self._outbox.deliver("what was logged")

    def settle(self, patience_s: float | None = None) -> bool:
        """Deliver what waits, as far as MLflow takes it; returns whether all is delivered, and else says where it is.

        Raises:
            StorageError: what waits cannot be put beside the run in its store.
        """
        settled = self._outbox.settle(patience_s)
        if not settled:
            self._outbox.leave()
        return settled

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
            self._log_config(self._parent, config)
            yield Run(self._outbox, self._parent)
            self.settle()
            return
        self._parent = self._ref(name, {RUN_KEY: key}, again=True)
        try:
            with self._standalone(self._parent, config) as run:
                yield run
        finally:
            self._parent = None

    def start_run(self, name: str, key: str, config: BaseModel) -> str:
        """Make the run that `run` would make, or find it, and leave it open for other processes to nest steps under.

        Returns:
            Its identity: their `parent`.
        """
        ref = self._ref(name, {RUN_KEY: key}, again=True)
        self._send("open", ref)
        self._log_config(ref, config)
        self.deliver()
        return Run(self._outbox, ref).run_id

    def open_run(self) -> Run:
        """The run that is open, or that another process left open.

        Raises:
            TrackingError: there is none.
        """
        if self._parent is None:
            raise TrackingError("no run is open", remedy="Set MLFLOW_RUN_ID to an MLflow run")
        return Run(self._outbox, self._parent)

    def end_run(self, status: Literal["FINISHED", "FAILED", "KILLED"], report: str, cause: str = "") -> None:
        """End the run that another process left open, and the steps' that nobody else has ended.

        Args:
            status: how it ended.
            report: kept with it as `final_report.md`.
            cause: of a failure, in one line.
        """
        run_id, client = self.open_run().run_id, self._server.client
        self.settle()
        client.log_text(run_id, report, "final_report.md")
        if cause:
            client.set_tag(run_id, ERROR, cause)
        elif ERROR in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, ERROR)
        for step in client.search_runs(
            [self._server.experiment], f"tags.`{PARENT}` = '{run_id}' AND attributes.status = 'RUNNING'"
        ):
            client.set_terminated(step.info.run_id, "KILLED")
        client.set_terminated(run_id, status)

    def run_url(self, run_id: str) -> str:
        """Where a run is to be seen: a page of the server, else MLflow's URI of it. Holds no password."""
        if not self.uri.startswith("http"):
            return f"runs:/{run_id}"
        return redact(f"{self.uri.rstrip('/')}/#/experiments/{self._server.experiment}/runs/{run_id}")

    @contextmanager
    def step(
        self,
        step: str,
        iteration: int | None,
        settings: Mapping[str, BaseModel | None] | None = None,
        *,
        anew: bool = False,
    ) -> Iterator[Run]:
        """The run of one step, nested under the run that is open, or under MLFLOW_RUN_ID.

        Args:
            step: its name.
            iteration: it belongs to.
            settings: of the step, by the name of their section; logged as parameters.
            anew: whether one that was logged to its end was another step, beside which this one stands.

        Raises:
            TrackingError: there is no run to nest it under.
        """
        if self._parent is None:
            raise TrackingError(f"step '{step}' has no parent run", remedy="Set MLFLOW_RUN_ID to an MLflow run")
        tags = {STEP: step, ITERATION: "none" if iteration is None else str(iteration)}
        ref = self._ref(step if iteration is None else f"{step}-{iteration}", tags, again=False, anew=anew)
        with self._logged(ref) as run, self._monitored(run, ref):
            given = {name: section for name, section in (settings or {}).items() if section is not None}
            if not run.finished:
                tree = {name: section.model_dump(mode="json") for name, section in given.items()}
                self._send("params", ref, tree=tree)
            yield run

    @contextmanager
    def standalone_run(self, name: str, key: str, config: BaseModel) -> Iterator[Run]:
        """A run of its own for one artifact, nested under MLFLOW_RUN_ID where that is set.

        Args:
            name: shown in the user interface.
            key: identity of what is logged; a run with this key is taken up again.
            config: logged as parameters and as `config.json`.
        """
        with self._standalone(self._ref(name, {RUN_KEY: key}, again=True), config) as run:
            yield run

    @contextmanager
    def _standalone(self, ref: RunRef, config: BaseModel) -> Iterator[Run]:
        with self._logged(ref) as run:
            self._log_config(ref, config)
            yield run
        self.settle()

    def _ref(self, name: str, tags: Mapping[str, str], *, again: bool, anew: bool = False) -> RunRef:
        return RunRef(name, tags, time.time_ns() // 1_000_000, again, anew, self._parent)

    def _send(self, kind: str, ref: RunRef, **what: Any) -> None:
        self._outbox.send({"kind": kind, "run": asdict(ref), **what})

    @contextmanager
    def _logged(self, ref: RunRef) -> Iterator[Run]:
        """A run from its beginning to its end: finished, failed, killed by an interrupt, or left to another process."""
        self._send("open", ref)
        run = Run(self._outbox, ref)
        try:
            yield run
        except HeldError:
            raise
        except BaseException as error:
            stopped = isinstance(error, INTERRUPTS)
            try:
                self._end(run, ref, "KILLED" if stopped else "FAILED", "" if stopped else one_line(error))
                if ref.parent is None or self._parent_elsewhere:
                    self.settle(_AT_THE_END_S)
            except (TrackingError, StorageError, OSError) as second:  # the first error is the one to mend
                error.add_note(str(second))
            raise
        self._end(run, ref, "FINISHED")

    def _end(self, run: Run, ref: RunRef, status: str, error: str = "") -> None:
        if not run.finished:
            self._send("end", ref, status=status, error=error)

    def _monitored(self, run: Run, ref: RunRef) -> AbstractContextManager[None]:
        if run.finished or not self._config.system_metrics:
            return nullcontext()

        def log(numbers: Mapping[str, float], sample: int) -> None:
            now = time.time_ns() // 1_000_000
            self._send("metrics", ref, points=[[name, value, sample, now] for name, value in numbers.items()])

        return system_metrics(log, self._server.next_sample(ref))

    def _log_config(self, ref: RunRef, config: BaseModel) -> None:
        tree = config.model_dump(mode="json")
        if tree.get("tracking", {}).get("uri") is not None:
            tree["tracking"]["uri"] = redact(tree["tracking"]["uri"])
        self._send("params", ref, tree=tree)
        self._send("text", ref, text=json.dumps(tree, indent=2, sort_keys=True) + "\n", file="config.json")


def deliver_waiting(config: TrackingConfig, store: Path, beside: str | None = None) -> None:
    """Deliver what waits, if MLflow answers; `store` and `beside` as of `Tracker`."""
    Tracker(config, store, begun=True, beside=beside).settle()
