"""From runs to a verdict: which objectives are the best, and which of the others are below them beyond noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from larpo_lib.statistics.estimates import UNKNOWN, Estimate, Values, mean, paired
from larpo_lib.statistics.simultaneous import all_differences
from larpo_lib.studies.objectives.bed import About, Measured
from larpo_lib.studies.objectives.search import Searched
from larpo_lib.studies.objectives.study import Setting
from larpo_lib.studies.results import BOOTSTRAP, over_seeds

Verdict = Literal["the best", "not distinguishable", "below the best", "broke down"]
BySeed = Mapping[int, Measured | None]


@dataclass(frozen=True)
class Row:
    """One objective at its best setting.

    Attributes:
        setting: what was chosen.
        estimates: by measure.
        by_seed: of the main measure.
        gain: of the main measure over what was there before training, prompt by prompt.
        least_gain: the smallest one among the seeds.
        from_best: the main measure minus the best objective's, with an interval that holds for all pairs at once.
        verdict: `below the best` if the interval and all seeds say so.
        broken: seeds whose training broke down; then nothing else is known.
    """

    setting: Setting
    estimates: Mapping[str, Estimate]
    by_seed: Mapping[int, float]
    gain: Estimate
    least_gain: float | None
    from_best: Estimate
    verdict: Verdict
    broken: Sequence[int] = ()

    @property
    def fell(self) -> bool:
        """Whether training broke down for a seed, or made a policy worse than it was before."""
        return self.least_gain is None or self.least_gain < 0


@dataclass(frozen=True)
class Comparison:
    """Everything of one place that objectives are compared on; rows best first."""

    about: About
    rates: Searched
    strengths: Searched
    before: Mapping[str, Estimate]
    rows: Sequence[Row]

    def named(self, verdict: Verdict) -> list[str]:
        """Objectives with a verdict, best first."""
        return [row.setting.objective for row in self.rows if row.verdict == verdict]


def compare(
    about: About,
    searched: tuple[Searched, Searched],
    runs: Mapping[Setting, BySeed],
    before: Mapping[int, Measured],
) -> Comparison:
    """Compare the objectives' runs of the reported seeds.

    Args:
        about: the place.
        searched: what the searches of learning rates and strengths came to.
        runs: setting, then seed, to what was measured.
        before: by seed.
    """
    whole = {setting: _whole(found) for setting, found in runs.items()}
    known = {setting: found for setting, found in whole.items() if found is not None}
    main = {one: {seed: of[about.main] for seed, of in found.items()} for one, found in known.items()}
    means = {one: {seed: mean([*values.values()]) for seed, values in found.items()} for one, found in main.items()}
    ordered = sorted(known, key=lambda one: -mean([*means[one].values()]))
    from_best = _from_best(main, ordered)
    rows = []
    for one in ordered:
        gains = {seed: paired(values, before[seed][about.main]) for seed, values in main[one].items()}
        rows.append(
            Row(
                setting=one,
                estimates={name: over_seeds([of[name] for of in known[one].values()]) for name in about.measures},
                by_seed=means[one],
                gain=BOOTSTRAP.mean_of_groups([*gains.values()]),
                least_gain=min(map(mean, gains.values())),
                from_best=from_best[one],
                verdict=_verdict(one, ordered[0], from_best[one], means),
            )
        )
    for one in (setting for setting, found in whole.items() if found is None):
        broken = [seed for seed, found in runs[one].items() if found is None]
        nothing: dict[str, Estimate] = dict.fromkeys(about.measures, UNKNOWN)
        rows.append(Row(one, nothing, {}, UNKNOWN, None, UNKNOWN, "broke down", broken))
    start = {name: over_seeds([of[name] for of in before.values()]) for name in about.measures}
    return Comparison(about, *searched, start, rows)


def _whole(found: BySeed) -> dict[int, Measured] | None:
    """What was measured, if no seed broke down."""
    whole = {seed: measured for seed, measured in found.items() if measured is not None}
    return whole if len(whole) == len(found) else None


def _from_best(main: Mapping[Setting, Mapping[int, Values]], ordered: Sequence[Setting]) -> dict[Setting, Estimate]:
    """Over the prompts on which all have a value: an order whose scores are all equal has no tau."""
    shared = (
        {seed: sorted(set.intersection(*({*main[one][seed]} for one in ordered))) for seed in main[ordered[0]]}
        if ordered
        else {}
    )
    groups = {
        one.objective: [[main[one][seed][prompt] for prompt in prompts] for seed, prompts in shared.items()]
        for one in ordered
    }
    found = all_differences(groups, BOOTSTRAP) if len(ordered) > 1 else {}
    return {one: found.get((one.objective, ordered[0].objective), UNKNOWN) for one in ordered}


def _verdict(one: Setting, best: Setting, gap: Estimate, means: Mapping[Setting, Mapping[int, float]]) -> Verdict:
    if one == best:
        return "the best"
    everywhere = all(value < means[best][seed] for seed, value in means[one].items())
    return "below the best" if everywhere and gap.high is not None and gap.high < 0 else "not distinguishable"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """As results.json holds it."""
    about = comparison.about
    return {
        "measures": [*about.measures],
        "before": {name: one.as_mean() for name, one in comparison.before.items()},
        "search": {
            "seed": about.search_seed,
            "measure": about.main,
            "learning_rates": _searched(comparison.rates),
            "strengths": _searched(comparison.strengths),
        },
        "objectives": {
            row.setting.objective: {
                "learning_rate": row.setting.learning_rate,
                **row.setting.changed,
                "estimates": {name: one.as_mean() for name, one in row.estimates.items()},
                "by_seed": {str(seed): value for seed, value in row.by_seed.items()},
                "gain": row.gain.as_mean(),
                "least_gain": row.least_gain,
                "from_best": row.from_best.as_mean(),
                "verdict": row.verdict,
                "broken_seeds": list(row.broken),
            }
            for row in comparison.rows
        },
    }


def _searched(found: Searched) -> dict[str, Any]:
    return {
        "places": [*found.line.places],
        "tried": {
            name: {str(place): mean([*values.values()]) if values else None for place, values in sorted(tried.items())}
            for name, tried in found.tried.items()
        },
        "best": dict(found.best),
        "still_at_end": found.at_end,
    }
