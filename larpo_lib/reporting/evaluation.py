"""What every benchmark reports, in one form: scores with their uncertainty, and what they may be compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.statistics.estimates import Bootstrap, Estimate, Values


@dataclass(frozen=True)
class Score:
    """One number of a benchmark.

    Attributes:
        name: its key in the metrics, such as `lc_win_rate`.
        label: as people write it, such as "LC win rate".
        estimate: the number, and how sure it is as far as that is known.
        unit: "%" of percentages, "" of shares in [0, 1] and of rewards, else what it counts, such as "characters".
        meaning: one sentence on what it says, and one on what it must not be compared with.
    """

    name: str
    label: str
    estimate: Estimate
    unit: str
    meaning: str


@dataclass(frozen=True)
class Published:
    """A row of a table somebody published.

    Attributes:
        policy: as the table calls it.
        source: which table.
        judge: that gave its numbers.
        scores: by the `name` of a Score, in that score's unit.
    """

    policy: str
    source: str
    judge: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """A breakdown, such as the scores of each part of a benchmark. Cells are text or numbers, None where undefined."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]


@dataclass(frozen=True)
class Curve:
    """Something against something, such as Pass@N against N.

    Attributes:
        title, x_label: of the plot; curves of one title share a plot.
        name: of the curve.
        x, y: its points; either all have an interval, or none has.
    """

    title: str
    x_label: str
    name: str
    x: Sequence[float]
    y: Sequence[Estimate]

    @property
    def banded(self) -> bool:
        """Whether its points have intervals."""
        return any(point.low is not None for point in self.y)

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        bounds = {name: [getattr(one, name) for one in self.y] if self.banded else None for name in ("low", "high")}
        return {**asdict(self), "y": [one.value for one in self.y], **bounds}


@dataclass(frozen=True)
class EvaluationReport:
    """What one benchmark says of one policy.

    Attributes:
        benchmark: its name in files and metrics, such as `alpaca_eval`.
        title: as people write it.
        policy: identity or name of the policy.
        judged_by: what decided, such as a judge's model and protocol; scores of other judges are not comparable.
        scores: the numbers, the most important one first.
        counts: how many items there were, and what was dropped, retried, not parsed or left out.
        values: metric, then item, to the value whose mean over items is that metric: what promote's gate resamples.
        published: rows to print beside the scores.
        tables, curves: what the page shows besides.
        caveats: sentences the reader must know.
        confidence: of the scores' and curves' intervals.
        version: edition of the items and of the protocol, such as "2024-06-01 hard"; scores of others are not
            comparable.
        distributions: metrics of which the page shows how the items' values are spread; None: all whose items are more
            than right or wrong.
        headline: scores that the page shows large; none: the first four.
        judge_check: what is known of how good the judge is, in one line; empty: nothing.
        falling: metrics with values that are better if they go down, of those whose direction only the run can tell.
        made_by: what else must be the same for two to be compared, if the settings of the benchmark do not say it:
            `sampling`, how responses were sampled, `reward`, the name and the settings of what gave rewards, and
            `values`, by metric, what an item's value is where earlier versions had another one.
    """

    benchmark: str
    title: str
    policy: str
    judged_by: str
    scores: Sequence[Score]
    counts: Mapping[str, int]
    values: Mapping[str, Mapping[str, float]]
    published: Sequence[Published] = ()
    tables: Sequence[Table] = ()
    curves: Sequence[Curve] = ()
    caveats: Sequence[str] = field(default=())
    confidence: float = 0.95
    version: str = ""
    distributions: Sequence[str] | None = None
    headline: Sequence[str] = ()
    judge_check: str = ""
    falling: Sequence[str] = ()
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def metrics(self) -> Metrics:
        """Every score, its standard error and its bounds, and every count, as metrics.json holds them."""
        found: Metrics = dict(self.counts)
        for score in self.scores:
            for suffix, value in asdict(score.estimate).items():
                if suffix == "value":
                    found[score.name] = value
                elif value is not None:
                    found[f"{score.name}_{suffix}"] = value
        return found

    def to_json(self) -> dict[str, Any]:
        """All but the values of items, as report.json holds it."""
        scores = [{**asdict(score), **asdict(score.estimate)} for score in self.scores]
        for score in scores:
            del score["estimate"]
        left_out = {"values", *(name for name in ("judge_check", "falling", "made_by") if not getattr(self, name))}
        whole = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {**whole, "scores": scores, "curves": [curve.to_json() for curve in self.curves]}


def mean_curve(title: str, x_label: str, name: str, by_n: Mapping[int, Values], bootstrap: Bootstrap) -> Curve:
    """The mean over items at each N that has any, with bootstrap intervals."""
    points = {n: bootstrap.mean([*values.values()]) for n, values in sorted(by_n.items()) if values}
    return Curve(title, x_label, name, [*points], [*points.values()])
