from __future__ import annotations

import json

from larpo_lib.reporting.benchmark import write
from larpo_lib.reporting.evaluation import EvaluationReport, Score
from larpo_lib.statistics.estimates import Estimate
from larpo_lib.tables import read_table

REPORT = EvaluationReport(
    benchmark="quiz",
    title="Quiz",
    policy="p",
    judged_by="rule",
    scores=[
        Score("right", "Right", Estimate(50.0, standard_error=35.4), "%", "Share of right answers."),
        Score("easy", "Easy", Estimate(None, low=0.0), "%", "Right answers to easy questions."),
    ],
    counts={"questions": 2},
    values={"right": {"b": 1.0, "a": 0.0}},
)


def test_metrics_hold_scores_errors_bounds_and_counts():
    assert REPORT.metrics() == {
        "questions": 2,
        "right": 50.0,
        "right_standard_error": 35.4,
        "easy": None,
        "easy_low": 0.0,
    }


def test_the_value_of_every_item_is_written(tmp_path):
    assert write(REPORT, tmp_path) == REPORT.metrics()
    assert read_table(tmp_path / "scores.parquet", "scores") == [
        {"metric": "right", "item_id": "a", "value": 0.0},
        {"metric": "right", "item_id": "b", "value": 1.0},
    ]
    assert json.loads((tmp_path / "report.json").read_text())["scores"][0]["value"] == 50.0
