"""Takes a step and logs it to MLflow: its metrics, and the curves of a training while it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.plan import Call
from larpo_lib.tracking import Run
from larpo_lib.training.history import read_history

_LIVE_EVERY_S = 30.0

Paths = Mapping[str, Path | Sequence[Path] | None]


def take(call: Call, paths: Paths, run: Run | None, **more: Any) -> Metrics:
    """Take a step on local paths and log it.

    Args:
        call: the step.
        paths: its inputs and outputs, by argument.
        run: the step's MLflow run; None: nothing is logged.
        more: further arguments.
    """
    settings = () if call.config is None else (call.config,)
    arguments = {**paths, **call.arguments, **more}
    if run is None:
        return call.function()(*settings, **arguments)
    if not call.trains:
        metrics = call.function()(*settings, **arguments)
        run.log_metrics(metrics)
        return metrics
    live = _LiveCurve(run)
    metrics = call.function()(*settings, **arguments, log=live)
    live.flush()  # speed and memory are in no history
    trained = paths["trained"]
    assert isinstance(trained, Path)
    run.log_curve(read_history(trained))
    run.log_metrics(metrics)
    return metrics


class _LiveCurve:
    """Logs rows of a training history every now and then. Logging a row twice leaves one."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows: list[Mapping[str, float]] = []
        self._last = time.monotonic()

    def __call__(self, row: Mapping[str, float], step: int) -> None:
        self._rows.append({**row, "step": step})
        if time.monotonic() - self._last >= _LIVE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Log what has come since the last time."""
        self._run.log_curve(self._rows)
        self._rows, self._last = [], time.monotonic()
