"""Held-out quality of one policy, and what changed between two, with bootstrap intervals over prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from larpo_lib.artifacts import Metrics
from larpo_lib.metrics import best_of_n, bootstrap_mean, pass_at_n
from larpo_lib.recorded import RecordedIntervals
from larpo_lib.tables import Row


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts and its confidence interval; None where it is not defined.

    Attributes:
        by_prompt: the values it is the mean of.
    """

    value: float | None
    low: float | None
    high: float | None
    by_prompt: Mapping[str, float]


@dataclass(frozen=True)
class Quality:
    """Held-out quality of one policy.

    Attributes:
        iteration: 0 is the policy that the run started from.
        reward: of a prompt's sampled responses on average; `accuracy` likewise, where they were judged right or wrong.
        curve: value at n = 1..N: Pass@n where responses were judged, else the expected best reward of n.
        rewards: of every sampled response.
    """

    iteration: int
    reward: Estimate
    accuracy: Estimate
    greedy_reward: Estimate
    greedy_accuracy: Estimate
    curve: Sequence[Estimate]
    mean_tokens: float | None
    truncated_share: float | None
    distinct_share: float | None
    rewards: Sequence[float]

    @property
    def name(self) -> str:
        """How the policy is called in tables and figures."""
        return f"iteration {self.iteration}" if self.iteration else "start"


@dataclass(frozen=True)
class Change:
    """One number of the headline: what it was at first, what it is at last, and the mean change of a prompt."""

    name: str
    first: Estimate
    last: Estimate
    difference: Estimate


def summarize(
    iteration: int, intervals: RecordedIntervals, metrics: Metrics, rows: Sequence[Row], *, judged: bool
) -> Quality:
    """Sum up one evaluation.

    Args:
        iteration: 0 for the starting policy.
        intervals: how they are made.
        metrics: as the evaluation reported them.
        rows: of its `evaluated` table; the greedy ones have temperature 0.
        judged: responses were judged right or wrong.
    """
    sampled = [row for row in rows if row["temperature"] != 0.0]
    greedy = [row for row in rows if row["temperature"] == 0.0]

    def estimate(part: Sequence[Row], field: str) -> Estimate:
        return _bootstrapped({prompt: fmean(values) for prompt, values in by_prompt(part, field).items()}, intervals)

    return Quality(
        iteration=iteration,
        reward=estimate(sampled, "reward"),
        accuracy=estimate(sampled if judged else [], "correct"),
        greedy_reward=estimate(greedy, "reward"),
        greedy_accuracy=estimate(greedy if judged else [], "correct"),
        curve=_curve(sampled, intervals, judged=judged),
        mean_tokens=metrics["mean_tokens"],
        truncated_share=metrics["truncated_share"],
        distinct_share=metrics["distinct_share"],
        rewards=[row["reward"] for row in sampled],
    )


def headline(first: Quality, last: Quality, intervals: RecordedIntervals, *, judged: bool) -> list[Change]:
    """The numbers that sum up what became of the `first` policy, with differences resampled prompt by prompt."""
    pairs = [("Mean reward", first.reward, last.reward)]
    if judged:
        pairs.insert(0, ("Accuracy", first.accuracy, last.accuracy))
        pairs.append(("Greedy accuracy", first.greedy_accuracy, last.greedy_accuracy))
    else:
        pairs.append(("Greedy reward", first.greedy_reward, last.greedy_reward))
    most = min(len(first.curve), len(last.curve))
    if most:
        pairs.append((f"{'Pass@' if judged else 'Best of '}{most}", first.curve[most - 1], last.curve[most - 1]))
    return [Change(name, old, new, _difference(old, new, intervals)) for name, old, new in pairs]


def by_prompt(rows: Sequence[Row], field: str) -> dict[str, list[float]]:
    """The values of one column, by `prompt_id`, in the rows' order; what a judge left undecided is left out."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row[field] is not None:
            groups.setdefault(row["prompt_id"], []).append(row[field])
    return groups


def _curve(sampled: Sequence[Row], intervals: RecordedIntervals, *, judged: bool) -> list[Estimate]:
    """At n = 1, 2, ..., each over the prompts that have n responses to count."""
    measure: Callable[..., float] = pass_at_n if judged else best_of_n
    groups = by_prompt(sampled, "correct" if judged else "reward")
    most = max(map(len, groups.values()), default=0)
    return [
        _bootstrapped(
            {prompt: measure([values], n) for prompt, values in groups.items() if len(values) >= n}, intervals
        )
        for n in range(1, most + 1)
    ]


def _difference(first: Estimate, last: Estimate, intervals: RecordedIntervals) -> Estimate:
    shared = [prompt for prompt in first.by_prompt if prompt in last.by_prompt]
    return _bootstrapped({prompt: last.by_prompt[prompt] - first.by_prompt[prompt] for prompt in shared}, intervals)


def _bootstrapped(values: Mapping[str, float], intervals: RecordedIntervals) -> Estimate:
    if not values:
        return Estimate(None, None, None, values)
    interval = bootstrap_mean(list(values.values()), intervals.confidence, intervals.resamples, intervals.seed)
    return Estimate(*interval, by_prompt=values)
