"""Writes what a benchmark reports."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from larpo_lib.artifacts import Metrics, write_json
from larpo_lib.evaluation.report import EvaluationReport
from larpo_lib.tables import write_table


def write(report: EvaluationReport, directory: Path) -> Metrics:
    """Write `scores.parquet` (the value of every item) and `report.json` into `directory`; returns the metrics."""
    rows = (
        {"metric": metric, "item_id": item, "value": value}
        for metric, values in sorted(report.values.items())
        for item, value in sorted(values.items())
    )
    write_table(directory / "scores.parquet", "scores", rows)
    write_json(directory / "report.json", {name: value for name, value in asdict(report).items() if name != "values"})
    return report.metrics()
