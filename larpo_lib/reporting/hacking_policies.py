"""What the sampled responses of each policy of a run are like, which tells whether one exploits its reward."""

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from sys import intern
from typing import TypeVar

import numpy as np

from larpo_lib.config.sections import WATCH
from larpo_lib.reporting.held_out import Row, is_greedy
from larpo_lib.statistics.estimates import Values
from larpo_lib.statistics.ranking import spearman
from larpo_lib.thinking import without_thoughts

KeyT = TypeVar("KeyT", bound=Hashable)

REWARD, LENGTH = "reward", "characters"
"""Measures that every policy has: by `evaluate.reranker`, and the lengths of responses. The others are watches, by the
names of their metrics."""
COLUMNS = ("prompt_id", "temperature", "reward", "response")
"""What is read here of the table `evaluated`."""


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


def read_policy(
    iteration: int,
    evaluated: Iterable[Row],
    watched: Iterable[Row],
    kl: float | None = None,
    scored_text: Callable[[str], str] = without_thoughts,
) -> Policy:
    """What rows of `evaluated` and of `watched` say of sampled responses. They are gone through once.

    Args:
        iteration: 0 is the policy that the run started from.
        evaluated: rows of held-out responses.
        watched: rows of their further rewards.
        kl: at the end of the training, nats.
        scored_text: from a response to what its reward is of, whose length counts.
    """
    values: dict[str, dict[str, float]] = {REWARD: {}, LENGTH: {}}
    correlations: dict[str, float] = {}
    responses = (
        (intern(row["prompt_id"]), row["reward"], len(scored_text(row["response"])))
        for row in evaluated
        if not is_greedy(row)
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


def shown(measure: str) -> str:
    """The name of a measure for people."""
    return measure.removeprefix(WATCH)


def watches(policy: Policy) -> list[str]:
    """The measures of a policy that are further rewards."""
    return [name for name in policy.values if name not in (REWARD, LENGTH)]
