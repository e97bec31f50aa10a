"""What lm-eval's samples say of a policy: each number of a task, and what each of its documents adds to it."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from larpo_lib.evaluation.lm_eval import BENCHMARK
from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.reporting.evaluation import EvaluationReport, Score, Table
from larpo_lib.statistics.estimates import Bootstrap, Estimate, Values

Metric = tuple[str, str]
"""A metric's name, and that of the filter that read the responses for it."""

NO_ANSWER = "[invalid]"
"""What lm-eval's filters say where they find no answer."""
_UNFILTERED = "none"


@dataclass(frozen=True)
class Evaluated:
    """A task that is done.

    Attributes:
        name: of the task.
        version: of its definition.
        examples: worked ones before each question.
        documents: how many were evaluated.
        numbers: lm-eval's number of each metric, the main one first.
        falling: metrics whose smaller numbers are better.
        samples: lm-eval's, as plain values: one for each document and filter.
        counts: of requests, and of what was cut or dropped.
    """

    name: str
    version: str
    examples: int
    documents: int
    numbers: Mapping[Metric, float]
    falling: frozenset[str]
    samples: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Group:
    """A group of tasks with numbers of its own.

    Attributes:
        name: of the group.
        version: of its definition.
        tasks: that are in it.
        numbers: lm-eval's number of each metric.
    """

    name: str
    version: str
    tasks: Sequence[str]
    numbers: Mapping[Metric, float]


def numbers_of(results: Mapping[str, Any]) -> dict[Metric, float]:
    """The metrics in what lm-eval reports of a task or a group, in its order, without standard errors."""
    found: dict[Metric, float] = {}
    for key, value in results.items():
        metric, comma, name = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            found[metric, name] = float(value)
    return found


def report(
    config: LmEvalConfig,
    policy: str,
    package: str,
    evaluated: Sequence[Evaluated],
    groups: Sequence[Group],
) -> EvaluationReport:
    """The report.

    Args:
        config: how tasks were asked.
        policy: its identity.
        package: version of lm-eval.
        evaluated: all tasks.
        groups: their groups, which come first.
    """
    bootstrap, rows = Bootstrap.of(config), []
    everything: Sequence[Evaluated | Group] = (*groups, *evaluated)
    scores: list[Score] = []
    values: dict[str, Values] = {}
    main: list[str] = []
    falling: list[str] = []
    for one in everything:
        found = _values(one, evaluated)
        named = {metric: _name(metric) for metric in one.numbers}
        made = [
            _score(one.name, named[metric], found.get(metric), number, bootstrap)
            for metric, number in one.numbers.items()
        ]
        values |= {f"{one.name}.{named[metric]}": by_item for metric, by_item in found.items()}
        falling += [f"{one.name}.{named[metric]}" for metric in found if _falls(metric, _parts(one, evaluated))]
        if made:
            main.append(made[0].name)
        scores += made
        rows.append(_row(one, made))
    counts = {name: sum(one.counts[name] for one in evaluated) for name in evaluated[0].counts}
    return EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title,
        policy=policy,
        judged_by=BENCHMARK.judged_by,
        version=_edition(config, package, evaluated),
        scores=sorted(scores, key=lambda score: score.name not in main),
        counts=counts,
        values=values,
        tables=[Table("Tasks", ["task", "version", "examples", "documents", "main number", "value"], rows)],
        caveats=_caveats(scores, values, counts),
        confidence=config.confidence,
        headline=main[:4],
        falling=falling,
    )


def _values(one: Evaluated | Group, evaluated: Sequence[Evaluated]) -> dict[Metric, Values]:
    """What each item adds to those numbers that are means over items."""
    parts = _parts(one, evaluated)
    found: dict[Metric, Values] = {}
    for metric, number in one.numbers.items():
        if len({metric[0] in part.falling for part in parts}) > 1:
            continue  # of a group whose tasks do not agree on what is better
        by_item = {item: value for part in parts for item, value in _items(part, metric)}
        if by_item and math.isclose(fmean(by_item.values()), number, rel_tol=1e-9, abs_tol=1e-12):
            found[metric] = by_item
    return found


def _parts(one: Evaluated | Group, evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    """The task itself, or the tasks of a group."""
    return [one] if isinstance(one, Evaluated) else [each for each in evaluated if each.name in one.tasks]


def _falls(metric: Metric, parts: Sequence[Evaluated]) -> bool:
    """Whether smaller numbers are better."""
    return all(metric[0] in part.falling for part in parts)


def _items(task: Evaluated, metric: Metric) -> Iterator[tuple[str, float]]:
    """Each document, named by its place and its content, with its value; each instruction of it, if it has several."""
    for sample in task.samples:
        value = sample.get(metric[0])
        if sample["filter"] != metric[1] or value is None:
            continue
        item = f"{task.name}.{sample['doc_id']:06d}-{sample['doc_hash'][:12]}"
        if isinstance(value, bool | int | float):
            yield item, float(value)
        elif isinstance(value, list) and all(isinstance(each, bool) for each in value):
            yield from ((f"{item}.{place}", float(each)) for place, each in enumerate(value))


def _score(task: str, metric: str, values: Values | None, number: float, bootstrap: Bootstrap) -> Score:
    if values is not None:
        return BENCHMARK.mean("{task}.{metric}", {f"{task}.{metric}": values}, bootstrap, task=task, metric=metric)
    estimate = Estimate(number if math.isfinite(number) else None)
    return BENCHMARK.score("{task}.{metric}", estimate, task=task, metric=metric)


def _name(metric: Metric) -> str:
    """With the filter's name, unless there is no filter."""
    return metric[0] if metric[1] == _UNFILTERED else ".".join(metric)


def _row(one: Evaluated | Group, made: Sequence[Score]) -> list[str | float | int | None]:
    main: list[str | float | None] = [made[0].name, made[0].estimate.value] if made else ["none", None]
    if isinstance(one, Group):
        return [one.name, one.version, None, None, *main]
    return [one.name, one.version, one.examples, one.documents, *main]


def _edition(config: LmEvalConfig, package: str, evaluated: Sequence[Evaluated]) -> str:
    """What must be the same for numbers to be compared, beside the items."""
    tasks = ", ".join(f"{one.name} {one.version} with {one.examples} examples" for one in evaluated)
    asked = ("chat", "system_prompt", "examples_as_turns", "examples_seed", "gen_kwargs", "think_end_token")
    shown = json.dumps([tasks, {name: getattr(config, name) for name in asked}], sort_keys=True)
    told = tasks if len(evaluated) <= 4 else f"{len(evaluated)} tasks"
    return f"lm-eval {package}; {told}; asked {hashlib.sha256(shown.encode()).hexdigest()[:8]}"


def _caveats(scores: Sequence[Score], values: Mapping[str, Values], counts: Mapping[str, int]) -> list[str]:
    whole = [score.name for score in scores if score.name not in values]
    found = []
    if whole:
        found.append(
            f"Without values of items, so that promote cannot compare them: {', '.join(whole)}. They are computed over "
            "all documents at once, and are no means over documents."
        )
    if counts["prompts_cut"]:
        found.append(f"{counts['prompts_cut']} requests were longer than the context, and lost their beginning.")
    return found
