"""Algorithm 1 on one machine: sample, rerank, build lists, train, evaluate, and again.

Every step publishes an artifact under the run's directory and finds it there when it is run again, so a loop killed at
any instant goes on from the step it was in, and ends with the same bytes. Which steps there are, `larpo_lib.plan` says.
"""

from pathlib import Path
from time import monotonic
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.checks import check_prepared
from larpo_lib.config import LarpoConfig
from larpo_lib.execution import execute_step
from larpo_lib.files import make_directory, write_json
from larpo_lib.locks import exclusive
from larpo_lib.plan import SUMMARY, Plan, StepCall
from larpo_lib.pool import check_pool, use_pool
from larpo_lib.preflight import check_config
from larpo_lib.progress import tell
from larpo_lib.run_files import (
    KEY,
    SECONDS,
    STORE,
    Clock,
    pin_models,
    read_models,
    read_settings,
    read_summary,
    run_key,
    summarize,
    write_models,
    write_settings,
)
from larpo_lib.run_place import RunPlace
from larpo_lib.run_state import all_calls, check_finished, find_run_state
from larpo_lib.signals import terminable
from larpo_lib.steps.edge import at_edge
from larpo_lib.storage import localize, with_code
from larpo_lib.tracking import Run, Spool, Tracker, deliver_waiting


def run_loop(
    config: LarpoConfig, out: str | Path, pool: Path | None = None, work: Path | None = None
) -> dict[str, Any]:
    """Run the whole algorithm under `out`, or go on with it. Of a run that is finished nothing is needed but `out`.

    Args:
        config: of the run.
        out: its directory or s3:// URI. A run in a store may be gone on with on any machine.
        pool: directory through which runs share what they have in common; None: everything is made.
        work: of a run in a store, directory for what is not kept there: MLflow's own database, if no server is set, and
            the lock. None: a folder in the cache, and there must be a server of MLflow.

    Returns:
        What `summary.json` holds: the held-out metrics of every iteration (0 = the policy the loop began with), the
        seconds it took, in all and call by call, and whether the policy was promoted.

    Raises:
        LarpoError: settings, models, servers or data cannot be used, or a step was made with other settings.
    """
    place = RunPlace.find(out, work)
    not_stored = place.read()
    config, models = pin_models(config, read_models(place.work))
    there = place.artifacts()
    run_state = find_run_state(Plan(config, place.root), there)
    if not run_state.left and (place.work / SUMMARY).is_file():
        check_finished(Plan(config, place.root), there, read_settings(place.work))
        if not_stored:  # it was killed at its very end
            place.write(not_stored)
        _deliver_waiting(config, place)
        return read_summary(place.work)
    place.check_tracking(config.tracking)
    config = with_code(config)
    plan = Plan(config, place.root)
    check_config(config, find_run_state(plan, place.artifacts()).names)
    make_directory(place.work)
    if pool is not None:
        check_pool(pool, place.outputs)
    clock = Clock(place.work)
    with exclusive(place.work / ".run.lock", place.work), place.held(), clock.running(), use_pool(pool), terminable():
        write_models(models, place.work)
        write_settings(config, place.work)
        measured, promoted = _run(plan, place, None if pool is not None else clock)  # a pool's results take no time
        seconds = clock.by_call()
        summary = {**summarize(config, measured, promoted, sum(seconds)), "seconds_by_call": seconds}
        write_json(place.work / SUMMARY, summary)
    place.write()
    return summary


def _run(plan: Plan, place: RunPlace, clock: Clock | None) -> tuple[dict[int, Metrics], Metrics]:
    """Take every step; the metrics of the iterations that were evaluated, and of the gate."""
    config = plan.config
    begun = (place.work / KEY).is_file()
    if begun:
        run_key(place.work, place.root)  # a copy leaves what waits to its origin
    tracker = Tracker(config.tracking, place.work / STORE, begun=begun, beside=place.waiting)
    measured: dict[int, Metrics] = {}
    promoted: Metrics = {}
    checked, there, preparing = False, place.artifacts(), {call.name for call in plan.prepare()}
    key = run_key(place.work, place.root)
    place.write()  # a run of MLflow whose key is in no store would be lost
    with tracker.run(config.name, key, config) as parent:
        for call in all_calls(plan, measured):
            if not checked and call.name not in preparing:
                _check_prompts(plan)
                checked = True
            made, start = all(there.made(path) for path in call.outputs.values()), monotonic()
            if not made:
                tell(f"{call.name}{'' if call.iteration is None else f', iteration {call.iteration}'}: begins")
            metrics = _take(call, tracker, parent)
            if clock is not None and not made:  # seconds are kept of what is made here, not found or shared
                rows = getattr(call.config, "batch_size", 1)
                clock.add_step(call.name, call.iteration, monotonic() - start, metrics, rows)
            place.write([SECONDS])
            if call.name == "evaluate" and call.iteration is not None:
                measured[call.iteration] = metrics
                parent.log_metrics(metrics, step=call.iteration)  # one curve over the iterations
            elif call.output == plan.promotion:
                promoted = metrics
    return measured, promoted


def _deliver_waiting(config: LarpoConfig, place: RunPlace) -> None:
    """Of a run that is finished, deliver what could not be delivered before, if there is anything."""
    if Spool.names(place.work / STORE, place.waiting):
        run_key(place.work, place.root)  # a copy leaves it to its origin
        deliver_waiting(config.tracking, place.work / STORE, place.waiting)


def _check_prompts(plan: Plan) -> None:
    with localize(plan.prepared(), {}) as paths:
        check_prepared(plan.config, paths)


def _take(call: StepCall, tracker: Tracker, parent: Run) -> Metrics:
    """Take a step, logged to MLflow as a nested run; the report is logged to the run itself."""
    with (
        tracker.step(call.name, call.iteration, call.settings) as run,
        at_edge(call.config, call.inputs, call.outputs, call.without_weights) as paths,
    ):
        metrics = execute_step(call, paths, run)
        if call.name == "report":
            parent.log_artifacts(paths["report"])
        return metrics
