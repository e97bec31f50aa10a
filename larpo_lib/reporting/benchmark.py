"""Writes what a benchmark reports: values, figures, one page and a table for the terminal."""

from pathlib import Path

from larpo_lib.artifacts import Metrics
from larpo_lib.files import write_json
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.tables import read_table, write_table

PAGE, SUMMARY, FIGURES = "report.html", "summary.txt", "figures"
VALUES, REPORT = "scores.parquet", "report.json"


def write(report: EvaluationReport, directory: Path) -> Metrics:
    """Write a report's files into `directory`, and return its metrics.

    They are `scores.parquet` (the value of every item), `report.json` (all the rest), `report.html` (one page that
    needs no network), `figures/*.png` and `summary.txt`.
    """
    from larpo_lib.reporting import drawing, page
    from larpo_lib.reporting.benchmark_figures import panels
    from larpo_lib.reporting.scores import text_table

    rows = (
        {"metric": metric, "item_id": item, "value": value}
        for metric, values in sorted(report.values.items())
        for item, value in sorted(values.items())
    )
    write_table(directory / VALUES, "scores", rows)
    write_json(directory / REPORT, report.to_json())
    drawn = panels(report)
    (directory / FIGURES).mkdir()
    for panel in drawn:
        (directory / FIGURES / f"{panel.name}.png").write_bytes(drawing.png(panel))
    (directory / PAGE).write_text(page.render_benchmark(report, drawn), "utf-8")
    (directory / SUMMARY).write_text(text_table(report) + "\n", "utf-8")
    return report.metrics()


def read_values(directory: Path) -> dict[str, dict[str, float]]:
    """Metric, then item, to the value, of a report that was written before."""
    values: dict[str, dict[str, float]] = {}
    for row in read_table(directory, "scores"):
        values.setdefault(row["metric"], {})[row["item_id"]] = row["value"]
    return values
