"""What the commands of all benchmarks share: a step is run, told as a table and as JSON, and logged to MLflow."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from larpo_lib.cli.commands import show

if TYPE_CHECKING:
    from larpo_lib.artifacts import Metrics
    from larpo_lib.config import Section, TrackingConfig
    from larpo_lib.tracking import Tracker

OptionalIn = Annotated[str | None, typer.Option(help="Artifact to read, if there is one.")]
MaxJudgeCalls = Annotated[
    int | None,
    typer.Option(min=1, help="Most decisions to buy; where more are needed, nothing is asked and the number is told."),
]
DecisionsFile = Annotated[
    Path | None,
    typer.Option(help="The judge's decisions, kept as they arrive; by default <evaluation>.decisions.jsonl."),
]


def run_benchmark(
    name: str,
    inputs: Mapping[str, str | list[str] | None],
    evaluation: str,
    config: Path | None,
    settings: Sequence[str] | None,
    *,
    max_judge_calls: int | None = None,
    **arguments: Any,
) -> None:
    """Run the benchmark `name`; print its table on standard error and its metrics as JSON on standard output.

    Where `tracking.uri` or MLFLOW_TRACKING_URI names an MLflow, the report is logged to a run there, which a rerun of
    the same evaluation finds again.

    Args:
        name: of its section in the settings and of its folder in `larpo_lib.evaluation`.
        inputs: keyword of the step -> path or s3:// URI, or several; None is handed on as it is.
        evaluation: artifact to write.
        config: TOML file.
        settings: of `--set`.
        max_judge_calls: short for `--set <name>.judge.max_calls=...`.
        arguments: further keywords of the step.
    """
    from larpo_lib.config import load_section
    from larpo_lib.reporting.benchmark import SUMMARY
    from larpo_lib.steps.edge import at_edge

    chosen = [*(settings or ())]
    if max_judge_calls is not None:
        chosen.append(f"{name}.judge.max_calls={max_judge_calls}")
    loaded = load_section(name, config, chosen)
    tracker = _tracker(load_section("tracking", config, chosen))
    module = importlib.import_module(f"larpo_lib.evaluation.{name}.step")
    with at_edge(loaded, inputs, {"evaluation": evaluation}) as paths:
        metrics = module.run(loaded, **paths, **arguments)
        if tracker is not None:
            log(tracker, name, loaded, paths["evaluation"], metrics)
        table = (paths["evaluation"] / SUMMARY).read_text("utf-8")
    typer.echo(table, err=True)
    show(metrics)


def log(tracker: Tracker, name: str, config: Section, evaluation: Path, metrics: Metrics) -> None:
    """Log a benchmark's report: metrics as `<name>/<metric>`, the page, the figures, and what they were made from."""
    from larpo_lib.artifacts import read_manifest
    from larpo_lib.reporting import benchmark

    with tracker.single(name, read_manifest(evaluation)["fingerprint"], config) as run:
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
