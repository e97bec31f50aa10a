"""Algorithm 1 on one machine: sample, rerank, build lists, train, evaluate, and again.

Every step publishes an artifact under the run's directory and finds it there when it is run again, so a loop killed at
any instant goes on from the step it was in, and ends with the same bytes. Which steps there are, `larpo_lib.plan` says.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.checks import check_references, foretell_calls
from larpo_lib.config import LarpoConfig
from larpo_lib.execution import execute_step
from larpo_lib.files import exclusive, make_directory, write_json
from larpo_lib.plan import SUMMARY, Plan, StepCall, summarize
from larpo_lib.pool import check_pool, use_pool
from larpo_lib.preflight import check_config
from larpo_lib.run_files import Clock, pin_models, read_models, run_key, write_models, write_settings
from larpo_lib.run_state import HERE, all_calls, find_run_state
from larpo_lib.signals import terminable
from larpo_lib.steps.declarations import STEPS
from larpo_lib.steps.edge import at_edge
from larpo_lib.storage import with_code
from larpo_lib.tracking import Tracker


def run_loop(config: LarpoConfig, out: Path, pool: Path | None = None) -> dict[str, Any]:
    """Run the whole algorithm under `out`, or go on with it. Of a run that is finished nothing is needed but `out`.

    Args:
        config: of the run.
        out: its directory.
        pool: directory through which runs share what they have in common; None: everything is made.

    Returns:
        What `summary.json` holds: the held-out metrics of every iteration (0 = the policy the loop began with), the
        seconds it took, in all and call by call, and whether the policy was promoted.

    Raises:
        LarpoError: settings, models, servers or data cannot be used, or a step was made with other settings.
    """
    config, models = pin_models(config, read_models(out))
    plan = Plan(config, str(out))
    run_state = find_run_state(plan)
    if not run_state.left and (out / SUMMARY).is_file():
        finished: dict[str, Any] = json.loads((out / SUMMARY).read_text("utf-8"))
        return finished
    config = with_code(config)
    plan = Plan(config, str(out))
    check_config(config, find_run_state(plan).names)
    make_directory(out)
    if pool is not None:
        check_pool(pool, out)
    clock = Clock(out)
    with exclusive(out / ".run.lock", out), clock.running(), use_pool(pool), terminable():
        write_models(models, out)
        write_settings(config, out)
        measured, promoted = _run(plan, out, None if pool is not None else clock)  # a pool's results take no time
        seconds = clock.by_call()
        summary = {**summarize(config, measured, promoted, sum(seconds)), "seconds_by_call": seconds}
        write_json(out / SUMMARY, summary)
    return summary


def _run(plan: Plan, out: Path, clock: Clock | None) -> tuple[dict[int, Metrics], Metrics]:
    """Take every step; the metrics of the iterations that were evaluated, and of the gate."""
    config = plan.config
    tracker = Tracker(config.tracking, out / "mlflow")
    measured: dict[int, Metrics] = {}
    promoted: Metrics = {}
    checked = False
    with tracker.run(config.name, run_key(out), config) as parent:
        for call in all_calls(plan, measured):
            if not checked and call.step.function != STEPS["prepare"].function:
                check_references(config, Path(plan.prompts), Path(plan.heldout))
                foretell_calls(config, Path(plan.prompts), Path(plan.heldout))
                checked = True
            metrics = _take(call, tracker, clock)
            if call.name == "evaluate" and call.iteration is not None:
                measured[call.iteration] = metrics
                parent.log_metrics(metrics, step=call.iteration)  # one curve over the iterations
            elif call.output == plan.promotion:
                promoted = metrics
            elif call.name == "report":
                parent.log_artifacts(Path(call.output))
    return measured, promoted


def _take(call: StepCall, tracker: Tracker, clock: Clock | None) -> Metrics:
    """Take a step, logged to MLflow as a nested run. Seconds are kept of what is made here, not found or shared."""
    made = all(HERE.made(path) for path in call.outputs.values())
    start = monotonic()
    with (
        tracker.step(call.name, call.iteration) as run,
        at_edge(call.config, call.inputs, call.outputs, call.without_weights) as paths,
    ):
        metrics = execute_step(call, paths, run)
    if clock is not None and not made:
        clock.add_step(call.name, call.iteration, monotonic() - start, metrics, getattr(call.config, "batch_size", 1))
    return metrics
