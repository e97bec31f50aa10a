"""Steps and an MLflow that take no time, and steps that fail or die on purpose, for pipelines on the emulated backend.

Everything else is the project's own: components, contexts, journals, gates, plan, artifacts and their fingerprints.
"""

import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from backend_emulator import Backend
from backend_pods import midway

from larpo_lib import artifacts
from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import SampleConfig
from larpo_lib.errors import LarpoError
from larpo_lib.kubernetes import workflow
from larpo_lib.pipeline import execute, rounds, run_context
from larpo_lib.pipeline.journal import Journal
from larpo_lib.plan import StepCall

DECISION = {
    "model_name": "tiny", "version": "1", "alias": "champion", "reason": "it is the better", "promoted": True,
    "metric": "reward",
    "means": {"policy": 1.0, "opponent": 0.0}, "difference": 1.0, "probability": 1.0, "margin": 0.0, "confidence": 0.95,
}  # fmt: skip

MEASURED = (
    "mean_reward", "mean_reward_low", "mean_reward_high", "accuracy", "accuracy_low", "accuracy_high", "pass_at_8",
    "greedy_accuracy", "greedy_reward", "best_of_n_reward",
)  # fmt: skip


@dataclass
class Quick:
    """What the steps are to do, and what they did.

    Attributes:
        peak: the mean reward rises up to this iteration.
        broken: name in the journal of the step that fails.
        struck: name of the step in whose middle a pod is killed or held, if that is to happen to the pod.
        made: artifacts made, in their order: path below the run's root.
        read: the inputs of each of them.
        backend: where it all runs, for who asks the workflow engine.
    """

    peak: int = 99
    broken: str = ""
    struck: str = ""
    made: list[str] = field(default_factory=list)
    read: dict[str, list[str]] = field(default_factory=dict)
    backend: Backend | None = None

    def execute_step(self, call: StepCall, paths: Mapping[str, Any], run: Any) -> Metrics:
        """A step in name: it needs its inputs, and makes artifacts of the right kind with next to nothing in them."""
        flat = {
            (f"{name}.{i}" if isinstance(call.inputs[name], list) else name): Path(path)
            for name in call.inputs
            for i, path in enumerate(paths[name] if isinstance(paths[name], Sequence) else [paths[name]])
            if path is not None
        }
        arguments = {name: str(value) for name, value in call.arguments.items()}
        metrics: Metrics = {}
        for name in call.outputs:
            metrics = produce(
                call.step.function, call.config or SampleConfig(), flat, paths[name],
                lambda work: self._make(call, work, paths), arguments=arguments,
            )  # fmt: skip
        return metrics

    def _make(self, call: StepCall, work: WorkDir, paths: Mapping[str, Any]) -> Metrics:
        output = str(paths[next(iter(call.outputs))])
        self.made.append(output)
        self.read[output] = [str(path) for name in call.inputs for path in [paths[name]]]
        (work.data / "made").write_text(f"{call.name} {call.iteration} {call.arguments}", "utf-8")
        if call.step.name == "promote":
            (work.data / "promotion.json").write_text(json.dumps(DECISION), "utf-8")
            return {"promoted": 1}
        if call.step.name == "report":
            (work.data / "report.html").write_text("<!doctype html>", "utf-8")
        if call.step.name != "evaluate":
            return {"dropped": 0}
        reward = float(min(call.iteration or 0, self.peak))
        return dict.fromkeys(MEASURED, reward)

    def strike(self, name: str) -> None:
        """Something may happen to a step in the middle of it."""
        if name == self.struck:
            midway()
        if name == self.broken:
            raise LarpoError("injected", remedy="Do not")


class NoRun:
    """A run of MLflow that keeps nothing."""

    run_id, started = "run", 0

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Keep nothing."""


class NoTracker:
    """An MLflow that keeps nothing."""

    uri = ""

    def __init__(self, *given: Any, **_others: Any) -> None:
        self.ended: list[str] = []

    def start_run(self, name: str, key: str, config: Any) -> str:
        """A run of that name."""
        return f"parent-of-{name}"

    def settle(self) -> bool:
        """Nothing waits."""
        return True

    @contextmanager
    def step(self, name: str, iteration: int | None, settings: Any = None) -> Iterator[NoRun]:
        """A step's run."""
        yield NoRun()

    def open_run(self) -> NoRun:
        """The run that the steps are under."""
        return NoRun()

    def run_url(self, run_id: str) -> str:
        """Where a run is shown."""
        return f"runs:/{run_id}"

    def end_run(self, status: str, text: str, cause: str) -> None:
        """End a run."""


def install(patch: pytest.MonkeyPatch) -> Quick:
    """Put the quick steps in the place of the real ones, for as long as a test."""
    quick, noted = Quick(), Journal.step

    @contextmanager
    def step(journal: Journal, name: str) -> Iterator[None]:
        with noted(journal, name):
            quick.strike(name)
            yield

    def read(name: str) -> workflow.Workflow:
        assert quick.backend is not None
        assert quick.backend.last is not None
        return workflow.parse(quick.backend.last.workflow())

    patch.setattr(artifacts, "_libraries", functools.cache(artifacts._libraries))
    patch.setattr(os, "fsync", lambda _: None)  # nothing here has to survive a power cut
    patch.setattr(execute, "execute_step", quick.execute_step)
    patch.setattr(rounds, "check_prepared", lambda *_: None)
    patch.setattr("larpo_lib.preflight.check_policy", lambda *_: None)
    patch.setattr(Journal, "step", step)
    patch.setattr(workflow, "read_workflow", read)
    patch.setattr(run_context, "Tracker", NoTracker)
    return quick
