from larpo_lib.statistics.estimates import Estimate
from larpo_lib.studies.by_n import curves, rows
from larpo_lib.studies.results import Results, Row


def _results():
    start = {
        "pass_at_1": Estimate(0.2, 0.1, 0.3),
        "pass_at_8": Estimate(0.6, 0.5, 0.7),
        "bm25_recall_at_8": Estimate(0.4, 0.35, 0.45),
        "recall_at_1": Estimate(0.25, 0.2, 0.3),
        "reward": Estimate(1.0, 0.9, 1.1),
    }
    after = {**start, "pass_at_1": Estimate(0.5, 0.4, 0.6)}
    return Results([*start], start, [Row(("after",), after, {}, {}, {})], [])


def test_each_policy_has_a_curve_of_each_kind_and_a_retriever_one_in_all():
    results = _results()
    drawn = {(curve.title, curve.name): dict(zip(curve.x, curve.y, strict=True)) for curve in curves(results)}
    before, after = results.start, results.rows[0].estimates
    axes, likeliest = "Pass@N and Recall@N", "Right among the N likeliest"
    assert drawn == {
        (axes, "before, Pass@N"): {1: before["pass_at_1"], 8: before["pass_at_8"]},
        (axes, "after, Pass@N"): {1: after["pass_at_1"], 8: after["pass_at_8"]},
        (axes, "BM25, Recall@N"): {8: before["bm25_recall_at_8"]},
        (likeliest, "before"): {1: before["recall_at_1"]},
        (likeliest, "after"): {1: after["recall_at_1"]},
    }


def test_the_table_has_a_row_for_each_n():
    head, *body = rows(curves(_results()))
    assert head[:4] == ["N", "before, Pass@N", "after, Pass@N", "BM25, Recall@N"]
    assert [row[0] for row in body] == ["1", "8"]
    assert [row[2] for row in body] == ["0.500 [0.400, 0.600]", "0.600 [0.500, 0.700]"]
    assert [row[3] for row in body] == ["\N{EN DASH}", "0.400 [0.350, 0.450]"]
