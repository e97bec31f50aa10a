"""Algorithm 1 on one machine: sample, rerank, build lists, train, evaluate, and again.

Every step publishes an artifact under the run's directory and finds it there when it is run again, so a loop killed at
any instant goes on from the step it was in, and ends with the same bytes. Which steps there are, `larpo_lib.plan` says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.checks import check_references
from larpo_lib.config import LarpoConfig
from larpo_lib.execution import execute_step
from larpo_lib.files import make_directory, write_json
from larpo_lib.plan import SUMMARY, Plan, StepCall, best_iteration, summarize
from larpo_lib.preflight import check_config
from larpo_lib.run_files import Clock, run_key, run_lock, write_settings
from larpo_lib.run_state import find_run_state
from larpo_lib.steps.declarations import STEPS
from larpo_lib.steps.edge import at_edge
from larpo_lib.tracking import Run, Tracker


def run_loop(config: LarpoConfig, out: Path) -> dict[str, Any]:
    """Run the whole algorithm under `out`, or go on with it. Of a run that is finished nothing is needed but `out`.

    Returns:
        What `summary.json` holds: the held-out metrics of every iteration (0 = the policy the loop began with), the
        seconds it took, in all and call by call, and whether the policy was promoted.

    Raises:
        LarpoError: settings, models, servers or data cannot be used, or a step was made with other settings.
    """
    plan = Plan(config, str(out))
    run_state = find_run_state(plan)
    if not run_state.left and (out / SUMMARY).is_file():
        finished: dict[str, Any] = json.loads((out / SUMMARY).read_text("utf-8"))
        return finished
    check_config(config, run_state.names)
    make_directory(out)
    clock = Clock(out)
    with run_lock(out), clock.running():
        write_settings(config, out)
        measured, promoted = _run(plan, out)
        seconds = clock.by_call()
        summary = {**summarize(config, measured, promoted, sum(seconds)), "seconds_by_call": seconds}
        write_json(out / SUMMARY, summary)
    return summary


def _run(plan: Plan, out: Path) -> tuple[dict[int, Metrics], Metrics]:
    """Take every step; the metrics of the iterations that were evaluated, and of the gate."""
    config = plan.config
    tracker = Tracker(config.tracking, out / "mlflow")
    with tracker.run(config.name, run_key(out), config) as parent:
        loop = _Loop(plan, tracker, parent)
        loop.prepare()
        loop.evaluate(0)
        for s in range(1, config.loop.iterations + 1):
            loop.iterate(s)
            if loop.plan.measures(s, config.loop.iterations):
                loop.evaluate(s)
                if config.loop.promote == "every_iteration":
                    loop.promote(s, loop.plan.at(s, "promotion"), s)
                if loop.plan.stops_after(loop.measured):
                    break
        best = best_iteration(loop.measured, config.loop.early_stop)
        promoted = loop.promote(best, loop.plan.promotion, None)
        loop.report()
    return loop.measured, promoted


@dataclass
class _Loop:
    """Takes the steps of a run, each logged to MLflow as a nested run.

    Attributes:
        measured: metrics of the iterations that were evaluated.
        made: iterations so far.
    """

    plan: Plan
    tracker: Tracker
    parent: Run
    measured: dict[int, Metrics] = field(default_factory=dict)
    made: int = 0

    def prepare(self) -> None:
        """Prompts, and the policy to begin with."""
        config = self.plan.config
        calls = self.plan.prepare()
        sources = [call for call in calls if call.step.function == STEPS["prepare"].function]
        for call in sources:
            self._take(call)
        check_references(config, Path(self.plan.prompts), Path(self.plan.heldout))
        for call in calls[len(sources) :]:
            self._take(call)
        if config.demonstrations is not None:
            self._take(self.plan.sft())

    def iterate(self, s: int) -> None:
        """One pass of Algorithm 1: the current policy samples, is the reference, and is trained."""
        plan = self.plan
        for step in (plan.sample, plan.rerank, plan.build_lists, plan.train):
            self._take(step(s))
        self.made = s

    def evaluate(self, s: int) -> None:
        """Measure the policy of an iteration."""
        self.measured[s] = self._take(self.plan.evaluate(s))
        self.parent.log_metrics(self.measured[s], step=s)  # one curve over the iterations

    def promote(self, iteration: int, promotion: str, s: int | None) -> Metrics:
        """The gate."""
        return self._take(self.plan.promote(iteration, promotion, s))

    def report(self) -> None:
        """The report."""
        call = self.plan.report(self.made)
        self._take(call)
        self.parent.log_artifacts(Path(call.output))

    def _take(self, call: StepCall) -> Metrics:
        with (
            self.tracker.step(call.name, call.iteration) as run,
            at_edge(call.config, call.inputs, call.outputs) as paths,
        ):
            return execute_step(call, paths, run)
