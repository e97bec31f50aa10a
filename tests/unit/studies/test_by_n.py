from __future__ import annotations

from larpo_lib.metrics import Interval
from larpo_lib.studies.by_n import curves, rows
from larpo_lib.studies.results import Results, Row


def _results():
    start = {
        "pass_at_1": Interval(0.2, 0.1, 0.3),
        "pass_at_8": Interval(0.6, 0.5, 0.7),
        "bm25_recall_at_8": Interval(0.4, 0.35, 0.45),
        "recall_at_1": Interval(0.25, 0.2, 0.3),
        "reward": Interval(1.0, 0.9, 1.1),
    }
    after = {**start, "pass_at_1": Interval(0.5, 0.4, 0.6)}
    return Results([*start], start, [Row(("after",), after, {}, {}, {})], [])


def test_each_policy_has_a_curve_of_each_kind_and_a_retriever_one_in_all():
    drawn = {(curve.title, curve.name): (curve.x, curve.y, curve.low, curve.high) for curve in curves(_results())}
    axes, likeliest = "Pass@N and Recall@N", "Right among the N likeliest"
    assert drawn == {
        (axes, "before, Pass@N"): ([1, 8], [0.2, 0.6], [0.1, 0.5], [0.3, 0.7]),
        (axes, "after, Pass@N"): ([1, 8], [0.5, 0.6], [0.4, 0.5], [0.6, 0.7]),
        (axes, "BM25, Recall@N"): ([8], [0.4], [0.35], [0.45]),
        (likeliest, "before"): ([1], [0.25], [0.2], [0.3]),
        (likeliest, "after"): ([1], [0.25], [0.2], [0.3]),
    }


def test_the_table_has_a_row_for_each_n():
    head, *body = rows(curves(_results()))
    assert head[:4] == ["N", "before, Pass@N", "after, Pass@N", "BM25, Recall@N"]
    assert [row[0] for row in body] == ["1", "8"]
    assert [row[2] for row in body] == ["0.500 [0.400, 0.600]", "0.600 [0.500, 0.700]"]
    assert [row[3] for row in body] == ["\N{EN DASH}", "0.400 [0.350, 0.450]"]
