"""What a report says, as plain values: computed here once, drawn and written elsewhere."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from larpo_lib.artifacts import Metrics
from larpo_lib.reporting.examples import Example
from larpo_lib.reporting.hacking import Hacking
from larpo_lib.reporting.quality import Change, Quality

HISTORY_SERIES = ("loss", "grad_norm", "margin", "ranking_accuracy", "kl", "chosen_logp_drift")
"""Columns of a policy's training history that are drawn."""

_LENGTH_GROUPS = 12
_DROP_WORDS = ("dropped", "duplicates", "without", "_cut_")
_BY_TEMPERATURE = "duplicate_share_t"


@dataclass(frozen=True)
class LengthCurve:
    """Reward against length of an iteration's ranked responses, from short to long, in groups of about one size.

    Attributes:
        lengths: mean characters of each group; rising.
        rewards: mean reward of each group.
        errors: standard error of each of those means.
    """

    iteration: int
    lengths: Sequence[float]
    rewards: Sequence[float]
    errors: Sequence[float]


@dataclass(frozen=True)
class SampleDiversity:
    """How much the responses that one iteration sampled at one temperature differ within a prompt; see the glossary.

    None: not defined, as where each prompt has one response.
    """

    iteration: int
    temperature: str
    duplicate_share: float | None
    distinct_2: float | None


@dataclass(frozen=True)
class Drop:
    """How many rows one step lost for one reason, by column of `Report.drop_columns`; None: not counted there."""

    step: str
    reason: str
    counts: Sequence[float | int | None]


@dataclass(frozen=True)
class Setting:
    """The settings of one step, flattened to `a.b` names."""

    step: str
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Report:
    """Everything the page, the figures and the terminal table show.

    Attributes:
        qualities: of the starting policy and of each iteration's.
        judged: responses were judged right or wrong, so accuracy and Pass@N exist.
        confidence: of every interval.
        outcomes: number of prompts by outcome of `larpo_lib.reporting.examples`.
        lists: what each iteration ranked and trained on: its number, and the metrics of what it `ranked` and of its
            `lists`, which hold earlier iterations' responses where memory keeps them.
        diversity: of the sampled candidates, by iteration and rising temperature; none where they are not given.
        hacking: what tells whether policies exploit the reward.
        histories: per iteration, each series of `HISTORY_SERIES` over the optimiser's steps.
        fixed_reference: the trainings were given a reference that is not what they start from.
        diagnoses: what is known of each iteration's training, by the names of `larpo_lib.training.advice.Diagnosis`.
        promotion: the gate's decision as it was recorded, and under `policy` whose; None if no gate was asked.
        versions: of larpo and the libraries that made the last policy.
        trained_on: how many held-out prompts are trained on.
    """

    title: str
    confidence: float
    headline: Sequence[Change]
    qualities: Sequence[Quality]
    judged: bool
    prompts: int
    lists: Sequence[Mapping[str, Any]]
    diversity: Sequence[SampleDiversity]
    length_curves: Sequence[LengthCurve]
    hacking: Hacking
    histories: Sequence[Mapping[str, Sequence[float | None]]]
    fixed_reference: bool
    diagnoses: Sequence[Mapping[str, Any]]
    examples: Sequence[Example]
    outcomes: Mapping[str, int]
    drop_columns: Sequence[str]
    drops: Sequence[Drop]
    settings: Sequence[Setting]
    versions: Sequence[tuple[str, str]]
    trained_on: int
    promotion: Mapping[str, Any] | None


def length_curve(iteration: int, rewards: ArrayLike, lengths: ArrayLike) -> LengthCurve:
    """Group the responses of one iteration by length; equal lengths are never parted."""
    order = np.argsort(lengths, kind="stable")
    sorted_lengths, sorted_rewards = np.asarray(lengths)[order], np.asarray(rewards)[order]
    size = len(order) / _LENGTH_GROUPS
    ends: list[int] = []
    for last in np.flatnonzero(np.diff(sorted_lengths, append=np.inf)).tolist():
        if last + 1 == len(order) or last + 1 - (ends[-1] if ends else 0) >= size:
            ends.append(last + 1)
    groups = [slice(start, end) for start, end in pairwise([0, *ends])]
    means = [fmean(sorted_rewards[group].tolist()) for group in groups]
    return LengthCurve(
        iteration=iteration,
        lengths=[fmean(sorted_lengths[group].tolist()) for group in groups],
        rewards=means,
        errors=[
            math.sqrt(sum((reward - mean) ** 2 for reward in sorted_rewards[group].tolist()))
            / (group.stop - group.start)
            for group, mean in zip(groups, means, strict=True)
        ],
    )


def sample_diversity(iteration: int, candidates: Metrics) -> list[SampleDiversity]:
    """The diversity of one iteration's candidates at each temperature, from their metrics."""
    temperatures = [key.removeprefix(_BY_TEMPERATURE) for key in candidates if key.startswith(_BY_TEMPERATURE)]
    return [
        SampleDiversity(
            iteration, temperature, candidates[_BY_TEMPERATURE + temperature], candidates[f"distinct_2_t{temperature}"]
        )
        for temperature in sorted(temperatures, key=float)
    ]


def history(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """The drawn series of a training history, by name."""
    return {name: [row.get(name) for row in rows] for name in HISTORY_SERIES}


def drops(parts: Sequence[tuple[str, int, Metrics]], columns: int) -> list[Drop]:
    """Collect every count of dropped rows.

    Args:
        parts: step, column and metrics of each artifact; steps keep the order of their first appearance.
        columns: number of columns.
    """
    counts: dict[tuple[str, str], list[float | int | None]] = {}
    for step, column, metrics in parts:
        for key in sorted(metrics):
            if any(word in key for word in _DROP_WORDS):
                counts.setdefault((step, key), [None] * columns)[column] = metrics[key]
    order = {step: place for place, (step, _, _) in reversed(list(enumerate(parts)))}
    return [
        Drop(step, key.replace("_", " "), tuple(values))
        for (step, key), values in sorted(counts.items(), key=lambda item: (order[item[0][0]], item[0][1]))
    ]


def settings(manifests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Setting]:
    """The settings of each step, once where all its artifacts share them.

    Args:
        manifests: name of the artifact ("iteration 1") and its manifest.
    """
    places: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = defaultdict(list)
    for place, manifest in manifests:
        places[manifest["step"], tuple(_flatten(manifest["config"]))].append(place)
    steps = [step for step, _ in places]
    return [
        Setting(step if steps.count(step) == 1 else f"{step} ({', '.join(where)})", values)
        for (step, values), where in places.items()
    ]


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flatten(part, f"{name}.{key}" if name else key)
    else:
        yield name, _setting_text(value)


def _setting_text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    # Where a file lay is no part of the result, and nobody's business but the one who ran it.
    return "…/" + text.rstrip("/").rpartition("/")[2] if text.startswith("/") else text
