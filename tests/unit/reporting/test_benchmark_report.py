"""A benchmark's report as files: what stands on the page, in the table of the terminal and in the figures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from reporting.parsed_page import HOSTILE, Page

from larpo_lib.reporting.benchmark import write
from larpo_lib.reporting.benchmark_figures import panels
from larpo_lib.reporting.evaluation import Curve, EvaluationReport, Published, Score, Table
from larpo_lib.reporting.page import render_benchmark
from larpo_lib.reporting.scores import text_table
from larpo_lib.statistics.estimates import Estimate
from larpo_lib.tables import read_table

REPORT = EvaluationReport(
    benchmark="quiz",
    title="Quiz",
    policy="p",
    judged_by="judge J",
    scores=[
        Score("right", "Right", Estimate(50.0, 0.0, 100.0, 35.4), "%", "Share of right answers."),
        Score("mean_length", "Length", Estimate(1200.4), "characters", "Of an answer."),
        Score("easy", "Easy", Estimate(None), "%", "Right answers to easy questions."),
    ],
    counts={"questions": 2, "answers_too_long_dropped": 1234},
    values={"right": {"b": 1.0, "a": 0.0}, "reward": {str(i): -i / 3 for i in range(9)}},
    published=[Published("other", "a paper", "judge K", {"right": 43.0}), Published("third", "a blog", "judge J", {})],
    tables=[Table("By topic", ["topic", "right"], [["sums", 0.5], ["words", None]])],
    curves=[
        Curve("Pass@N", "N", "of $1 and $2", [1, 2], [Estimate(0.5, 0.4, 0.6), Estimate(0.75, 0.6, 0.9)]),
        Curve("Pass@N", "N", "other", [1, 2], [Estimate(0.1), Estimate(0.2)]),
        Curve("Reward", "N", "p", [1, 100], [Estimate(-1.5), Estimate(3.0)]),
    ],
    caveats=["Half of the quiz."],
)


def words(page: Page) -> str:
    return page.words().replace("\N{EN DASH}", "-").replace("\N{MINUS SIGN}", "-")


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_benchmark(REPORT, panels(REPORT)))


def test_the_page_needs_nothing_from_anywhere(page: Page) -> None:
    page.check_self_contained()


def test_metrics_hold_counts_scores_errors_and_bounds() -> None:
    assert REPORT.metrics() == {
        "questions": 2, "answers_too_long_dropped": 1234, "right": 50.0, "right_low": 0.0, "right_high": 100.0,
        "right_standard_error": 35.4, "mean_length": 1200.4, "easy": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        "policy p judged by judge J",
        "Right 50.00 % 0.00 to 100.00, ± 35.40 Length 1,200 characters Easy -",
        "Half of the quiz.",
        "95 % confidence intervals",
        "Right 50.00 % 0.00 to 100.00, ± 35.40 Share of right answers.",
        "p 50.00 judge J this evaluation other 43.0 judge K a paper third - judge J a blog",
        "By topic topic right sums 0.500 words -",
        "questions 2 answers too long dropped 1,234",
    ],
)
def test_the_page_tells(page: Page, told: str) -> None:
    assert told in words(page).replace("\u202f", " ")


def test_curves_of_a_title_share_a_panel_and_only_graded_values_are_spread() -> None:
    found = {panel.name: panel for panel in panels(REPORT)}
    assert list(found) == ["pass-n", "reward", "values-reward"]
    assert found["pass-n"].caption == "Band: 95% confidence interval. The axis spans 0 to 1."
    assert found["reward"].caption == "The axis does not start at zero."


def test_a_meaning_that_several_rows_share_is_told_once() -> None:
    scores = [
        Score("a", "A", Estimate(1.0), "", "Same."),
        Score("b", "B", Estimate(2.0), "", "Same."),
        Score("c", "C", Estimate(3.0), "", "Other."),
    ]
    page = Page(render_benchmark(replace(REPORT, scores=scores, headline=("c",)), []))
    assert words(page).count("Same.") == 1
    assert ("rowspan", "2") in page.attributes
    assert "judged by judge J C 3.000" in words(page)


def test_hostile_text_stays_text() -> None:
    report = replace(
        REPORT,
        title=HOSTILE,
        policy=HOSTILE,
        judged_by=HOSTILE,
        scores=[Score("right", HOSTILE, Estimate(1.0), HOSTILE, HOSTILE)],
        caveats=[HOSTILE],
        published=[Published(HOSTILE, HOSTILE, HOSTILE, {"right": 1.0})],
        tables=[Table(HOSTILE, [HOSTILE], [[HOSTILE]])],
        counts={HOSTILE: 1},
        values={"right": {str(i): float(i) for i in range(9)}},
        curves=[Curve(HOSTILE, HOSTILE, HOSTILE, [1, 2], [Estimate(1), Estimate(2)])],
    )
    page = Page(render_benchmark(report, panels(report)))
    assert not {"script", "img"} & set(page.tags)


def test_a_report_of_scores_alone_has_no_empty_sections() -> None:
    bare = EvaluationReport("quiz", "Quiz", "p", "rule", REPORT.scores, {"questions": 2}, {})
    told = Page(render_benchmark(bare, panels(bare))).words()
    assert "Figures" not in told
    assert "published" not in told
    assert "comparing" not in told


def test_the_table_of_the_terminal() -> None:
    assert text_table(REPORT).splitlines() == [
        "Quiz of p",
        "judged by judge J",
        "",
        "score   value             95% interval, ± standard error",
        "Right   50.00 %           0.00 to 100.00, ± 35.40",
        "Length  1,200 characters",
        "Easy    \N{EN DASH}",
        "",
        "published; compare only rows with the same judge",
        "policy  Right (%)  judge    source",
        "other   43.0       judge K  a paper",
        "third   \N{EN DASH}          judge J  a blog",
        "",
        "! Half of the quiz.",
        "",
        "questions 2, answers too long dropped 1,234",
    ]


def test_the_same_report_gives_the_same_files(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert write(REPORT, tmp_path / name) == REPORT.metrics()
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert list(contents[0]) == [
        "figures/pass-n.png",
        "figures/reward.png",
        "figures/values-reward.png",
        "report.html",
        "report.json",
        "scores.parquet",
        "summary.txt",
    ]
    assert all(content[:4] == b"\x89PNG" for name, content in contents[0].items() if name.endswith(".png"))
    rows = read_table(tmp_path / "a" / "scores.parquet", "scores")
    assert [(row["item_id"], row["value"]) for row in rows if row["metric"] == "right"] == [("a", 0.0), ("b", 1.0)]
    assert json.loads((tmp_path / "a" / "report.json").read_text())["scores"][0]["value"] == 50.0
