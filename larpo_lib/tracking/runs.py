"""One MLflow run that is being logged to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.errors import TrackingError
from larpo_lib.tracking.data import DataSet
from larpo_lib.tracking.outbox import Outbox
from larpo_lib.tracking.server import PARENT, RunRef


class Run:
    """One MLflow run that is being logged to. While MLflow is away, what is logged waits.

    Args:
        outbox: that delivers.
        ref: which run it is.

    Attributes:
        uri: as of `Tracker`.
        finished: an earlier process logged it to its end; logging again does nothing.
    """

    def __init__(self, outbox: Outbox, ref: RunRef) -> None:
        self._outbox, self._ref = outbox, ref
        self.uri = outbox.server.uri
        known = outbox.server.known(ref)
        self.finished = known is not None and known.finished

    @property
    def run_id(self) -> str:
        """MLflow's identity of it. Raises TrackingError where MLflow is away and has not given it one yet."""
        known = self._outbox.server.known(self._ref)
        return self._ref.run_id or (known or self._outbox.require(self._ref, "the model registry")).run_id

    @property
    def started(self) -> int:
        """When it began, in milliseconds since 1970; raises as `run_id`."""
        return int(self._outbox.require(self._ref, "the time of its start").run.info.start_time)

    @property
    def parent(self) -> str | None:
        """Identity of the run that it is nested under; None: of none. Raises as `run_id`."""
        found: str | None = self._outbox.require(self._ref, "the run above it").run.data.tags.get(PARENT)
        return found

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Log numbers; None is skipped.

        Raises:
            TrackingError: a value is not finite, or MLflow refuses.
        """
        self._log_points(_points(metrics, step or 0))

    def log_curve(self, rows: Sequence[Mapping[str, float | None]]) -> None:
        """Log a training history: rows with a `step` each, the other keys being metrics."""
        points = []
        for number, row in enumerate(rows):
            step = row.get("step")
            if step is None:
                raise TrackingError(f"row {number} of the training history has no 'step': {dict(row)}")
            points += _points({name: value for name, value in row.items() if name != "step"}, int(step))
        self._log_points(points)

    def log_artifact(self, path: Path) -> None:
        """Upload a file."""
        self._log("file", path=str(path), place=None)

    def log_artifacts(self, directory: Path, place: str | None = None) -> None:
        """Upload the files of a directory, to the folder `place` of the run."""
        self._log("file", path=str(directory), place=place)

    def log_text(self, text: str, file: str) -> None:
        """Upload a text as a file."""
        self._log("text", text=text, file=file)

    def log_data(self, data: DataSet) -> None:
        """Show with this run, and with the one above it, which data it uses."""
        self._log("data", data=asdict(data))

    def _log_points(self, points: Sequence[Any]) -> None:
        if points:
            self._log("metrics", points=points)

    def _log(self, kind: str, **what: Any) -> None:
        if not self.finished:
            self._outbox.send({"kind": kind, "run": asdict(self._ref), **what})


def _points(metrics: Mapping[str, float | None], step: int) -> list[list[Any]]:
    """Name, value and step of each number; the time is that of the run."""
    defined = {name: float(value) for name, value in metrics.items() if value is not None}
    for name, value in defined.items():
        if not math.isfinite(value):
            raise TrackingError(
                f"metric '{name}' is {value} at step {step}",
                remedy="Check the step that reported it: a loss that is not finite usually means that the learning "
                "rate is too high",
            )
    return [[name, value, step, None] for name, value in sorted(defined.items())]
