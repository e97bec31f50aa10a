"""A benchmark's scores as text: one way of writing them for the page and the terminal."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from larpo_lib.reporting.evaluation import EvaluationReport, Score
from larpo_lib.reporting.table import UNDEFINED, aligned, count, number

_TILES = 4


def value_text(value: float | None, unit: str) -> str:
    """`38.57` of percentages, else as `number` writes it; without its unit."""
    return f"{value:.2f}" if value is not None and unit == "%" else number(value)


def score_text(score: Score) -> str:
    """The value with its unit: `38.57 %`, `0.512`, `1,693 characters`."""
    text = value_text(score.estimate.value, score.unit)
    return f"{text} {score.unit}" if score.unit and score.estimate.value is not None else text


def uncertainty(score: Score) -> str:
    """`35.20 to 41.90`, `± 1.21`, both of them, or nothing where there is neither."""
    parts = []
    found = score.estimate
    if found.low is not None and found.high is not None:
        parts.append(f"{value_text(found.low, score.unit)} to {value_text(found.high, score.unit)}")
    if found.standard_error is not None:
        parts.append(f"± {value_text(found.standard_error, score.unit)}")
    return ", ".join(parts)


def headline(report: EvaluationReport) -> list[Score]:
    """The scores to show large."""
    by_name = {score.name: score for score in report.scores}
    return [by_name[name] for name in report.headline if name in by_name] or list(report.scores[:_TILES])


def with_spans(scores: Sequence[Score]) -> list[tuple[Score, int]]:
    """Each score, and over how many rows its meaning stands: 0 where it is that of the row before."""
    spans: list[tuple[Score, int]] = []
    for _, group in groupby(scores, key=lambda score: score.meaning):
        alike = list(group)
        spans += [(score, 0 if place else len(alike)) for place, score in enumerate(alike)]
    return spans


def comparison(report: EvaluationReport) -> list[list[str]]:
    """A table beside what was published: its head, the policy, then the rows as given; empty if there are none."""
    scores = [score for score in report.scores if any(score.name in row.scores for row in report.published)]
    if not scores:
        return []
    labels = [f"{score.label} ({score.unit})" if score.unit else score.label for score in scores]
    own = [value_text(score.estimate.value, score.unit) for score in scores]
    others = [
        [row.policy, *(_as_printed(row.scores.get(score.name), score.unit) for score in scores), row.judge, row.source]
        for row in report.published
    ]
    return [
        ["policy", *labels, "judge", "source"],
        [report.policy, *own, report.judged_by, "this evaluation"],
        *others,
    ]


def text_table(report: EvaluationReport) -> str:
    """The report for the terminal: scores, what was published, caveats and counts, without a final newline."""
    return "\n".join(_lines(report))


def _lines(report: EvaluationReport) -> Iterator[str]:
    yield f"{report.title} of {report.policy}"
    yield f"judged by {report.judged_by}"
    if report.judge_check:
        yield f"this judge, {report.judge_check}"
    yield ""
    head = ["score", "value", f"{report.confidence:.0%} interval, ± standard error"]
    yield from aligned([head, *([score.label, score_text(score), uncertainty(score)] for score in report.scores)])
    if beside := comparison(report):
        yield ""
        yield "published; compare only rows with the same judge"
        yield from aligned([beside[0], *beside[2:]])
    if report.caveats:
        yield ""
        yield from (f"! {caveat}" for caveat in report.caveats)
    if report.counts:
        yield ""
        yield ", ".join(f"{name.replace('_', ' ')} {count(value)}" for name, value in report.counts.items())


def _as_printed(value: float | None, unit: str) -> str:
    """A published value with the decimals of a paper's table, and no more than were printed."""
    if value is None:
        return UNDEFINED
    decimals = 1 if unit == "%" else 3
    return f"{value:.{decimals}f}" if round(value, decimals) == value else f"{value:.10g}"
