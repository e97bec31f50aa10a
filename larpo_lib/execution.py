"""Takes a step and logs it to MLflow: its metrics, and the curves of a training while it goes on."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import AGAIN, Metrics
from larpo_lib.config import PrepareConfig, Section, TrainConfig
from larpo_lib.device_memory import give_back_memory
from larpo_lib.evaluation.run_benchmarks import require_values
from larpo_lib.files import read_json
from larpo_lib.plan import StepCall
from larpo_lib.registry import Registry
from larpo_lib.reporting.hacking import FILE as HACKING
from larpo_lib.tracking import DataSet, Run
from larpo_lib.tracking.data import Use
from larpo_lib.training.advice import diagnose
from larpo_lib.training.history import read_history

_LIVE_EVERY_S = 30.0
_DATA: tuple[tuple[str, str, str, Use], ...] = (
    ("prepare", "prompts", "prompts", "training"),
    ("prepare", "heldout", "held-out prompts", "evaluation"),
    ("prepare-evaluation", "prompts", "held-out prompts", "evaluation"),
    ("prepare-demonstrations", "demonstrations", "demonstrations", "training"),
    ("sft", "demonstrations", "demonstrations", "training"),
    ("sample", "prompts", "prompts", "training"),
    ("build_lists", "prompts", "prompts", "training"),  # where sampling is shared out, its shares have no run
    ("evaluate", "prompts", "held-out prompts", "evaluation"),
)
"""Step and argument, and what the data are called. What is prepared comes first, and with it the whole source."""


def execute_step(call: StepCall, paths: Mapping[str, Any], run: Run | None) -> Metrics:
    """Take a step on local paths and log it.

    Args:
        call: the step.
        paths: its inputs and outputs, by argument.
        run: the step's MLflow run; None: nothing is logged.
    """
    try:
        return _execute(call, paths, run)
    finally:
        give_back_memory()  # the next step's model may be in another process


def _execute(call: StepCall, paths: Mapping[str, Any], run: Run | None) -> Metrics:
    arguments = {**paths, **call.arguments}
    if run is None:
        return call.step.run(call.config, **arguments)
    if call.step.needs_registry:
        arguments |= {"registry": Registry(run.uri, run.run_id), "place": call.inputs["policy"]}
    if call.step.trains:
        arguments["log"] = live = _LiveCurve(run)
    metrics = call.step.run(call.config, **arguments)
    if call.asked:
        require_values(paths[call.step.outputs[0].name], call.asked)
    log_data(call, paths, run)
    if call.step.trains:
        live.flush()  # speed and memory are in no history
        log_history(paths["trained"], call.config, run)
    if call.name == "report":
        run.log_curve(read_json(paths["report"] / HACKING, remedy=AGAIN)["iterations"])
    run.log_metrics(metrics)
    made = paths[call.step.outputs[0].name]
    for file in (made / name for name in call.step.logs if (made / name).is_file()):
        run.log_artifact(file)
    return metrics


def log_history(trained: Path, config: Section | None, run: Run) -> None:
    """Log the history in a directory as curves, and the advice that it gives about a training on lists."""
    history = read_history(trained)
    run.log_curve(history)
    if isinstance(config, TrainConfig) and (advice := diagnose(history, config.identity()).advice):
        run.log_text("\n".join(advice) + "\n", "advice.txt")


def log_data(call: StepCall, paths: Mapping[str, Any], run: Run) -> None:
    """Show with a step's run, and the one above it, the prompts or demonstrations that it makes or uses."""
    source = call.config.source if isinstance(call.config, PrepareConfig) else None
    for step, argument, name, use in _DATA:
        if call.name == step and argument in paths:
            data = DataSet.of(paths[argument], name, use, source)
            if data is not None:
                run.log_data(data)


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
