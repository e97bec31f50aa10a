"""Held-out quality of one policy, and what changed between two, with bootstrap intervals over prompts."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from larpo_lib.artifacts import Metrics
from larpo_lib.reporting.held_out import Measures
from larpo_lib.statistics.estimates import Bootstrap, Estimate, Values, paired
from larpo_lib.tables import Row


@dataclass(frozen=True)
class Quality:
    """Held-out quality of one policy.

    Attributes:
        iteration: 0 is the policy that the run started from.
        values: measure, then prompt, to value, as `larpo_lib.reporting.held_out.Measures` has them.
        estimates: of each measure's mean over prompts.
        metrics: as the evaluation reported them.
        rewards: of every sampled response.
    """

    iteration: int
    values: Mapping[str, Values]
    estimates: Mapping[str, Estimate]
    metrics: Metrics
    rewards: Sequence[float]

    @property
    def name(self) -> str:
        """How the policy is called in tables and figures."""
        return f"iteration {self.iteration}" if self.iteration else "start"

    @property
    def curve(self) -> list[Estimate]:
        """At N = 1, 2, ...: Pass@N where responses were judged, else the expected best reward of N."""
        return [one for name, one in self.estimates.items() if name.startswith(("pass_at_", "best_of_"))]


@dataclass(frozen=True)
class Change:
    """One number of the headline: what it was at first, what it is at last, and the mean change of a prompt."""

    name: str
    first: Estimate
    last: Estimate
    difference: Estimate


def summarize(iteration: int, bootstrap: Bootstrap, metrics: Metrics, rows: Iterable[Row], *, judged: bool) -> Quality:
    """Sum up one evaluation.

    Args:
        iteration: 0 for the starting policy.
        bootstrap: how intervals are made.
        metrics: as the evaluation reported them.
        rows: of its `evaluated` table; are gone through once.
        judged: responses were judged right or wrong.
    """
    values = Measures(rows, judged=judged)
    return Quality(
        iteration=iteration,
        values=values,
        estimates={name: bootstrap.mean([*found.values()]) for name, found in values.items()},
        metrics=metrics,
        rewards=array("d", chain.from_iterable(values.sampled.rewards.values())),
    )


def headline(first: Quality, last: Quality, bootstrap: Bootstrap, *, judged: bool) -> list[Change]:
    """The numbers that sum up what became of the `first` policy, with differences resampled prompt by prompt."""
    named = {"Mean reward": "reward", "Greedy reward": "greedy_reward"}
    if judged:
        named = {"Accuracy": "accuracy", "Mean reward": "reward", "Greedy accuracy": "greedy_accuracy"}
    if most := min(len(first.curve), len(last.curve)):
        title, measure = ("Pass@", "pass_at_") if judged else ("Best of ", "best_of_")
        named[f"{title}{most}"] = f"{measure}{most}"
    return [
        Change(
            title,
            first.estimates[name],
            last.estimates[name],
            bootstrap.mean(paired(last.values[name], first.values[name])),
        )
        for title, name in named.items()
    ]
