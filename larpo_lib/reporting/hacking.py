"""Whether a policy exploits its reward: what it gains by it, against length and against rewards that it does not see.

Gao et al. 2023 (arXiv 2210.10760): while a policy goes on to gain by the reward that it is trained on, what the reward
stands for first gets better and then worse.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from larpo_lib.reporting.hacking_advice import advise
from larpo_lib.reporting.hacking_policies import LENGTH, REWARD, Policy, watches
from larpo_lib.statistics.estimates import UNKNOWN, Bootstrap, Estimate, paired
from larpo_lib.statistics.regression import intercept

FILE = "reward_hacking.json"
"""Of the report: the numbers of every policy, and the advice."""


@dataclass(frozen=True)
class Standing:
    """The numbers of one policy; differences are from the policy that the run started from.

    Attributes:
        iteration: 0 is that policy.
        estimates: of each measure's mean over prompts.
        gains: of each measure's mean change of a prompt.
        scaled: the same, in standard deviations of all prompts' values of all policies.
        wins: of each watch, the share of the prompts on which its mean is higher, equal ones counted half.
        correlation: of reward and characters within prompts, its mean over prompts.
        growth: of this correlation's change.
        at_equal_length: the gain of the reward at no change in length, on the line of least squares through prompts.
        kl: as in `Policy`.
    """

    iteration: int
    estimates: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]
    scaled: Mapping[str, Estimate]
    wins: Mapping[str, Estimate]
    correlation: Estimate
    growth: Estimate
    at_equal_length: Estimate
    kl: float | None


@dataclass(frozen=True)
class Judged:
    """What a benchmark says of some of the policies; numbers of different judges or editions stand in different ones.

    Attributes:
        name: of the number, as a metric.
        title: the same for people.
        judged_by: what decided.
        scores: by iteration.
    """

    name: str
    title: str
    judged_by: str
    scores: Mapping[int, Estimate]


@dataclass(frozen=True)
class Hacking:
    """What a report says of it.

    Attributes:
        trained: the measure that training learns from; None: held-out responses were not measured by it.
        watches: the measures that are further rewards.
        standings: by rising iteration, the first one that of the policy that the run started from.
        judged: by benchmarks, if any were given.
        advice: as `advise` gives it.
    """

    trained: str | None
    watches: Sequence[str]
    standings: Sequence[Standing]
    judged: Sequence[Judged]
    advice: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """As `FILE` holds it: a row of plain numbers for each policy."""
        return {
            "trained": self.trained,
            "advice": list(self.advice),
            "iterations": [dict(self._row(standing)) for standing in self.standings],
        }

    def _row(self, standing: Standing) -> Iterator[tuple[str, float | None]]:
        yield "step", standing.iteration
        named = {
            **standing.estimates,
            **{f"{name}_gain": gain for name, gain in standing.gains.items()},
            **{f"{name}_win_rate": wins for name, wins in standing.wins.items()},
            "reward_gain_at_equal_length": standing.at_equal_length,
            "reward_length_correlation": standing.correlation,
            "reward_length_correlation_growth": standing.growth,
            **{one.name: one.scores.get(standing.iteration, UNKNOWN) for one in self.judged},
        }
        for name, estimate in named.items():
            yield from ((name, estimate.value), (f"{name}_low", estimate.low), (f"{name}_high", estimate.high))
        yield "kl", standing.kl


def examine(
    policies: Sequence[Policy], bootstrap: Bootstrap, trained: str | None, judged: Sequence[Judged] = ()
) -> Hacking:
    """What the policies of a run say.

    Args:
        policies: by rising iteration, the first one that which the run started from; all with the same measures.
        bootstrap: how intervals are made; prompts are drawn.
        trained: as in `Hacking`.
        judged: by benchmarks.
    """
    standings = [_standing(policy, policies, bootstrap) for policy in policies]
    return Hacking(trained, watches(policies[0]), standings, judged, advise(policies, bootstrap, trained))


def _standing(policy: Policy, policies: Sequence[Policy], bootstrap: Bootstrap) -> Standing:
    first = policies[0]
    estimates = {name: bootstrap.mean([*values.values()]) for name, values in policy.values.items()}
    gains = {name: bootstrap.mean(paired(values, first.values[name])) for name, values in policy.values.items()}
    scales = {name: float(np.std([value for one in policies for value in one.values[name].values()])) for name in gains}
    return Standing(
        iteration=policy.iteration,
        estimates=estimates,
        gains=gains,
        scaled={name: _over(gain, scales[name]) for name, gain in gains.items()},
        wins={
            name: bootstrap.mean(
                [0.5 + 0.5 * float(np.sign(d)) for d in paired(policy.values[name], first.values[name])]
            )
            for name in watches(policy)
        },
        correlation=bootstrap.mean([*policy.correlations.values()]),
        growth=bootstrap.mean(paired(policy.correlations, first.correlations)),
        at_equal_length=_at_equal_length(policy, first, bootstrap),
        kl=policy.kl,
    )


def _over(found: Estimate, scale: float) -> Estimate:
    """In units of `scale`; where nothing varies, as it is."""
    low, value, high = (None if one is None else one / (scale or 1.0) for one in (found.low, found.value, found.high))
    return Estimate(value, low, high)


def _at_equal_length(policy: Policy, first: Policy, bootstrap: Bootstrap) -> Estimate:
    """The intercept of the change in reward on the change in length, prompts drawn with both."""
    both = [np.array(paired(policy.values[name], first.values[name])) for name in (REWARD, LENGTH)]
    gains, longer = both
    if not len(gains):
        return UNKNOWN
    bounds = bootstrap.interval(len(gains), lambda drawn: intercept(gains[drawn], longer[drawn]))
    return Estimate(intercept(gains, longer), bounds.low, bounds.high)
