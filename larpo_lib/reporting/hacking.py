"""Whether a policy exploits its reward: what it gains by it, against length and against rewards that it does not see.

Gao et al. 2023 (arXiv 2210.10760): while a policy goes on to gain by the reward that it is trained on, what the reward
stands for first gets better and then worse.
"""

from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from sys import intern
from typing import Any, TypeVar

import numpy as np

from larpo_lib.config.sections import WATCH
from larpo_lib.reporting.held_out import Row, is_greedy
from larpo_lib.reporting.table import number
from larpo_lib.statistics.estimates import UNKNOWN, Bootstrap, Estimate, Values, paired
from larpo_lib.statistics.ranking import spearman
from larpo_lib.statistics.regression import intercept

KeyT = TypeVar("KeyT", bound=Hashable)

REWARD, LENGTH = "reward", "characters"
"""Measures that every policy has: by `evaluate.reranker`, and the lengths of responses. The others are watches, by the
names of their metrics."""
COLUMNS = ("prompt_id", "temperature", "reward", "response")
"""What is read here of the table `evaluated`."""
FILE = "reward_hacking.json"
"""Of the report: the numbers of every policy, and the advice."""

LITTLE = 0.5
"""Less than half of the gain is left at equal length."""
STRONG = 0.3
"""A rank correlation within prompts: of two responses, the longer one has the higher reward in about three of five
cases."""


@dataclass(frozen=True)
class Policy:
    """What the sampled responses of one policy to held-out prompts are like, prompt by prompt.

    Attributes:
        iteration: 0 is the policy that the run started from.
        values: measure, then prompt, to the mean over its responses.
        correlations: Spearman's of reward and characters, of the prompts on which it is defined.
        kl: at the end of the training, nats; None: not known.
    """

    iteration: int
    values: Mapping[str, Values]
    correlations: Values
    kl: float | None = None


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
        advice: one sentence for each threshold that is passed.
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


def read_policy(iteration: int, evaluated: Iterable[Row], watched: Iterable[Row], kl: float | None = None) -> Policy:
    """What rows of `evaluated` and of `watched` say of sampled responses. They are gone through once."""
    values: dict[str, dict[str, float]] = {REWARD: {}, LENGTH: {}}
    correlations: dict[str, float] = {}
    responses = (
        (intern(row["prompt_id"]), row["reward"], len(row["response"])) for row in evaluated if not is_greedy(row)
    )
    for prompt, rewards, lengths in _by_key(responses):
        values[REWARD][prompt], values[LENGTH][prompt] = fmean(rewards), fmean(lengths)
        if (correlation := spearman(rewards, lengths)) is not None:
            correlations[prompt] = correlation
    scored = (((row["watch"], intern(row["prompt_id"])), row["reward"], 0.0) for row in watched if not is_greedy(row))
    for (watch, prompt), rewards, _ in _by_key(scored):
        values.setdefault(f"{WATCH}{watch}", {})[prompt] = fmean(rewards)
    return Policy(iteration, values, correlations, kl)


def _by_key(rows: Iterable[tuple[KeyT, float, float]]) -> Iterator[tuple[KeyT, list[float], list[float]]]:
    """Each key, in the order of its first row, with the values of all its rows.

    In between they lie in arrays: lists of a million numbers' objects would be most of a report's memory.
    """
    numbers: dict[KeyT, int] = {}
    places, columns = array("q"), (array("d"), array("d"))
    for key, *pair in rows:
        places.append(numbers.setdefault(key, len(numbers)))
        for column, value in zip(columns, pair, strict=True):
            column.append(value)
    order = np.argsort(places, kind="stable")
    first, second = (np.asarray(column)[order] for column in columns)
    ends = np.cumsum(np.bincount(places, minlength=len(numbers)))
    start = 0
    for key, end in zip(numbers, ends, strict=True):
        yield key, first[start:end].tolist(), second[start:end].tolist()
        start = end


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
    watches = _watches(policies[0])
    advice = list(_exploits(policies, bootstrap, trained))
    if trained == REWARD:
        advice += _prefers_length(standings[-1], standings[0])
    return Hacking(trained, watches, standings, judged, advice)


def shown(measure: str) -> str:
    """The name of a measure for people."""
    return measure.removeprefix(WATCH)


def _watches(policy: Policy) -> list[str]:
    return [name for name in policy.values if name not in (REWARD, LENGTH)]


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
            for name in _watches(policy)
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


def _exploits(policies: Sequence[Policy], bootstrap: Bootstrap, trained: str | None) -> Iterator[str]:
    """The trained measure rose while another one fell, since the policy that is the best one by the other."""
    last = policies[-1]
    if trained is None:
        return
    for name in (name for name in (REWARD, *_watches(last)) if name != trained):
        best = max(policies, key=lambda policy: fmean(policy.values[name].values()))
        rise, fall = (bootstrap.mean(paired(last.values[one], best.values[one])) for one in (trained, name))
        if rise.low is None or fall.high is None or not (rise.low > 0 > fall.high):
            continue
        yield (
            f"Since {_policy(best.iteration)}, {_told(trained)} rose by {_amount(rise)} while {_told(name)} fell by "
            f"{_amount(fall)}: the policy exploits the reward. {_remedy(best.iteration, name)}"
        )


def _policy(iteration: int) -> str:
    return f"iteration {iteration}" if iteration else "the start"


def _told(measure: str) -> str:
    return "the reward" if measure == REWARD else f"'{shown(measure)}'"


def _amount(change: Estimate) -> str:
    return number(abs(change.value or 0.0))


def _remedy(best: int, name: str) -> str:
    use = f"Use the policy of iteration {best}" if best else "Keep the policy that the run started from"
    metric = "mean_reward" if name == REWARD else name
    return f'{use}, end the loop there by loop.early_stop.metric = "{metric}", or train on an ensemble of both rewards.'


def _prefers_length(last: Standing, first: Standing) -> Iterator[str]:
    gain, longer, left = last.gains[REWARD], last.gains[LENGTH], last.at_equal_length.value
    remedy = "Set or increase rerank.length_penalty, or use another reranker."
    if _above_zero(gain) and _above_zero(longer) and left is not None and left < LITTLE * (gain.value or 0.0):
        yield (
            f"Since the start, the reward rose by {number(gain.value)} and responses became {number(longer.value)} "
            f"characters longer; at equal length, {number(left)} of the gain is left. {remedy}"
        )
    now = last.correlation.value
    if _above_zero(last.growth) and now is not None and now >= STRONG:
        yield (
            f"Within prompts, the rank correlation of reward and length grew from {number(first.correlation.value)} to "
            f"{number(now)}: more and more, the reward is one of length. {remedy}"
        )


def _above_zero(found: Estimate) -> bool:
    return found.low is not None and found.low > 0
