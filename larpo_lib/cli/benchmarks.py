"""The commands of benchmarks: a step is run, told as a table and as JSON, and logged to MLflow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from larpo_lib.cli.app import BENCHMARKS, app, benchmark_app, say, score_app
from larpo_lib.cli.commands import Request, add_command, show
from larpo_lib.evaluation import benchmarks

if TYPE_CHECKING:
    from larpo_lib.artifacts import Metrics
    from larpo_lib.config import Section, TrackingConfig
    from larpo_lib.tracking import Tracker


def run_benchmark(request: Request) -> None:
    """Run a benchmark; print its table on standard error and its metrics as JSON on standard output.

    Where `tracking.uri` or MLFLOW_TRACKING_URI names an MLflow, the report is logged to a run there, which a rerun of
    the same evaluation finds again.
    """
    from larpo_lib.config import load_section
    from larpo_lib.reporting.benchmark import SUMMARY
    from larpo_lib.steps.edge import at_edge

    config, inputs = request.load()
    tracker = _tracker(load_section("tracking", request.config, request.settings))
    with at_edge(config, inputs, request.outputs) as paths:
        metrics = request.step.run(config, **paths, **request.arguments)
        if tracker is not None:
            log(tracker, request.step.name, config, paths["evaluation"], metrics)
        table = (paths["evaluation"] / SUMMARY).read_text("utf-8")
    say(table, err=True)
    show(metrics)


def rescore(request: Request) -> None:
    """Print a benchmark's numbers from stored decisions."""
    from larpo_lib.steps.edge import at_edge

    with at_edge(None, request.inputs, {}) as paths:
        found = request.step.run(None, **paths, **request.arguments)
    say(json.dumps(found, indent=2))


def log(tracker: Tracker, name: str, config: Section, evaluation: Path, metrics: Metrics) -> None:
    """Log a benchmark's report: metrics as `<name>/<metric>`, the page, the figures, and what they were made from."""
    from larpo_lib.artifacts import read_manifest
    from larpo_lib.reporting import benchmark

    with tracker.standalone_run(name, read_manifest(evaluation)["fingerprint"], config) as run:
        run.log_metrics({f"{name}/{metric}": value for metric, value in metrics.items()})
        for file in (benchmark.PAGE, benchmark.SUMMARY, benchmark.VALUES, benchmark.REPORT):
            run.log_artifact(evaluation / file)
        run.log_artifacts(evaluation / benchmark.FIGURES, benchmark.FIGURES)


def _tracker(config: TrackingConfig) -> Tracker | None:
    """Told before the work begins: whether there is an MLflow to log to, and whether it answers."""
    from larpo_lib.tracking import Tracker

    if config.uri is None and not os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    return Tracker(config, Path("mlflow"))


for _one in benchmarks().values():
    add_command([_one.step], BENCHMARKS, run_benchmark, to=benchmark_app)
    add_command([_one.step], BENCHMARKS, run_benchmark, to=app, hidden=True)
    if _one.rescoring is not None:
        add_command([_one.rescoring], BENCHMARKS, rescore, to=score_app)
