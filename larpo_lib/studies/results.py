"""What a study found: means over seeds and prompts, differences from its baseline, and which of the paper's hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from larpo_lib.errors import ArtifactError
from larpo_lib.statistics.estimates import Bootstrap, Estimate, Values, mean, paired
from larpo_lib.studies.study import START, Study

Labels = tuple[str, ...]
Verdict = Literal["holds", "reversed", "within noise"]

BOOTSTRAP = Bootstrap(confidence=0.95, resamples=2000, seed=0)
"""Over seeds, and prompts within each."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to.

    Attributes:
        labels, seed: of its cell.
        values: measure, then prompt, to the value after the last iteration.
        start: the same for the policy that the run began with.
        prompts: held-out prompts that this policy was evaluated on.
    """

    labels: Labels
    seed: int
    values: Mapping[str, Values]
    start: Mapping[str, Values]
    prompts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Row:
    """One cell, over its seeds.

    Attributes:
        labels: of the cell.
        estimates: of each measure.
        by_seed: measure, then seed, to the mean over prompts.
        differences: of each measure from the baseline's cell, prompt by prompt; empty for the baseline itself.
        published: what the paper gives for this cell.
    """

    labels: Labels
    estimates: Mapping[str, Estimate]
    by_seed: Mapping[str, Mapping[int, float]]
    differences: Mapping[str, Estimate]
    published: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """Whether something that the paper finds is found here, by one measure."""

    group: Labels
    better: str
    worse: str
    measure: str
    difference: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class Results:
    """All of a study. `start` is the policy that runs begin with, over all cells of a seed."""

    measures: Sequence[str]
    start: Mapping[str, Estimate]
    rows: Sequence[Row]
    found: Sequence[Found]
    starts: Sequence[Row] = ()
    """The policies that runs begin with, one for all cells that differ on the last axis alone."""

    def to_json(self) -> dict[str, Any]:
        """As results.json holds it."""
        return {
            "confidence": BOOTSTRAP.confidence,
            "measures": list(self.measures),
            "start": _means(self.start),
            "rows": [
                {
                    "labels": list(row.labels),
                    "estimates": _means(row.estimates),
                    "by_seed": {
                        name: {str(seed): value for seed, value in by.items()} for name, by in row.by_seed.items()
                    },
                    "difference_from_baseline": _means(row.differences),
                    "published": dict(row.published),
                }
                for row in self.rows
            ],
            "starts": [
                {
                    "labels": list(row.labels),
                    "estimates": _means(row.estimates),
                    "published": dict(row.published),
                }
                for row in self.starts
            ],
            "orderings": [
                {
                    "group": list(one.group),
                    "better": one.better,
                    "worse": one.worse,
                    "measure": one.measure,
                    "difference": one.difference.as_mean(),
                    "verdict": one.verdict,
                }
                for one in self.found
            ],
        }


def summarize(
    study: Study, measures: Sequence[str], outcomes: Sequence[Outcome], checked_by: Sequence[str] = ()
) -> Results:
    """Means, differences and verdicts of a study's runs, cells in the order of `outcomes`.

    Cells are compared prompt by prompt within each seed, for runs of one seed have the same prompts.

    Args:
        study: the grid.
        measures: of its scale.
        outcomes: of its runs.
        checked_by: the measures by which the paper's orderings are looked for; none: the first one.

    Raises:
        ArtifactError: runs of one seed were evaluated on different prompts.
    """
    _check_prompts(outcomes)
    cells: dict[Labels, dict[int, Outcome]] = {}
    for outcome in outcomes:
        cells.setdefault(outcome.labels, {})[outcome.seed] = outcome
    published = {one.cell: one.values for one in study.published}

    def row(labels: Labels, values: Mapping[int, Mapping[str, Values]], differences: Mapping[str, Estimate]) -> Row:
        return Row(
            labels=labels,
            estimates={name: over_seeds([one[name] for one in values.values()]) for name in measures},
            by_seed={name: {seed: mean([*one[name].values()]) for seed, one in values.items()} for name in measures},
            differences=differences,
            published=published.get(labels, {}),
        )

    rows, starts = [], {}
    for labels, runs in cells.items():
        base = None if labels[-1] == study.baseline else cells[(*labels[:-1], study.baseline)]
        differences = {} if base is None else {name: _difference(runs, base, name) for name in measures}
        rows.append(row(labels, {seed: one.values for seed, one in runs.items()}, differences))
        if labels[:-1] not in starts:
            starts[labels[:-1]] = row((*labels[:-1], START), {seed: one.start for seed, one in runs.items()}, {})
    first = {outcome.seed: outcome for outcome in reversed(outcomes)}
    return Results(
        measures=measures,
        start={name: over_seeds([one.start[name] for one in first.values()]) for name in measures},
        rows=rows,
        found=[one for name in checked_by or measures[:1] for one in _orderings(study, name, cells)],
        starts=[*starts.values()],
    )


def _check_prompts(outcomes: Sequence[Outcome]) -> None:
    first: dict[tuple[Labels, int], Outcome] = {}
    for one in outcomes:
        other = first.setdefault((one.labels[:-1], one.seed), one)
        if one.prompts != other.prompts:
            raise ArtifactError(
                f"with seed {one.seed}, {' / '.join(other.labels)} was evaluated on {len(other.prompts)} prompts and "
                f"{' / '.join(one.labels)} on {len(one.prompts)}, of which {len(one.prompts & other.prompts)} are in "
                "both, so they cannot be compared",
                remedy="Delete the directory of the run whose data are wrong, and run the study again",
            )


def over_seeds(groups: Sequence[Values]) -> Estimate:
    """The mean of each seed's values by prompt; not defined where a seed has none."""
    return BOOTSTRAP.mean_of_groups([[*group.values()] for group in groups])


def _difference(new: Mapping[int, Outcome], old: Mapping[int, Outcome], name: str) -> Estimate:
    shared = [seed for seed in new if seed in old]
    return BOOTSTRAP.mean_of_groups([paired(new[seed].values[name], old[seed].values[name]) for seed in shared])


def _means(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: one.as_mean() for name, one in estimates.items()}


def _orderings(study: Study, measure: str, cells: Mapping[Labels, Mapping[int, Outcome]]) -> list[Found]:
    found = []
    for group in dict.fromkeys(labels[:-1] for labels in cells):
        for pair in study.orderings:
            difference = _difference(cells[(*group, pair.better)], cells[(*group, pair.worse)], measure)
            found.append(Found(group, pair.better, pair.worse, measure, difference, _verdict(difference)))
    return found


def _verdict(difference: Estimate) -> Verdict:
    if difference.low is not None and difference.low > 0:
        return "holds"
    return "reversed" if difference.high is not None and difference.high < 0 else "within noise"
