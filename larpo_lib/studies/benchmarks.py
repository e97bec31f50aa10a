"""Benchmarks that a study measures its policies by after its runs: existing steps, on the first and the last policy."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt

from larpo_lib.config import LarpoConfig, LlmJudgeConfig, Section, apply_settings
from larpo_lib.config.load import check, load_tree
from larpo_lib.errors import ArtifactError, ConfigError
from larpo_lib.pool import pooled
from larpo_lib.progress import tell
from larpo_lib.studies.results import ByPrompt, Outcome
from larpo_lib.studies.study import Cell
from larpo_lib.tables import read_table


class Benchmark(Section):
    """A benchmark, as a file in the folder `benchmarks` beside the presets describes it."""

    step: Literal["alpaca_eval", "gsm8k", "mixeval"]
    files: Mapping[str, str]
    """Argument of the step to the published file, which is to be brought along."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Of the step's section; how answers are sampled, a cell's own settings say."""
    measures: Mapping[str, str] = Field(min_length=1)
    """Measure of the study to a metric of the report."""
    calls: NonNegativeInt = 0
    """Judge's decisions on one policy, at most, if each can be read."""


def load_benchmarks(names: Sequence[str], presets: Path, over: Mapping[str, Any]) -> dict[str, Benchmark]:
    """Read the benchmarks of a study.

    Args:
        names: of their files in the folder; one with .toml at its end is a path.
        presets: folder of the preset files.
        over: settings of a whole run; those in the section of a benchmark's step lie over the benchmark's own.

    Raises:
        ConfigError: a file is missing or none, or two benchmarks have a measure in common.
    """
    found = {}
    for name in names:
        path = Path(name) if name.endswith(".toml") else presets / "benchmarks" / f"{name}.toml"
        read = check(Benchmark, load_tree(path), path)
        settings = apply_settings(dict(read.settings), dict(over.get(read.step, {})))
        found[path.stem] = read.model_copy(update={"settings": settings})
    measures = [measure for benchmark in found.values() for measure in benchmark.measures]
    twice = sorted({measure for measure in measures if measures.count(measure) > 1})
    if twice:
        raise ConfigError(f"two benchmarks measure '{twice[0]}'", remedy="Name one of them in the study's benchmarks")
    return found


def benchmark_config(cell: Cell, benchmark: Benchmark) -> Section:
    """The settings of the step, which samples answers as the cell does where the benchmark does not say.

    Raises:
        ConfigError: they are none.
    """
    tree = apply_settings(dict(cell.settings), {benchmark.step: dict(benchmark.settings)})
    config: Section = getattr(check(LarpoConfig, tree), benchmark.step)
    return config


def check_benchmarks(cells: Sequence[Cell], benchmarks: Mapping[str, Benchmark]) -> None:
    """Check before any cell runs that files and keys are there.

    Raises:
        ConfigError: something is missing.
    """
    from larpo_lib.evaluation import official_alpaca_eval
    from larpo_lib.evaluation.completions import completions

    for name, benchmark in benchmarks.items():
        for argument, path in benchmark.files.items():
            if not Path(path).is_file():
                raise ConfigError(
                    f"{path}: no such file, which the benchmark {name} takes as {argument}",
                    remedy="Put the published file there; docs/evaluation.md says where it comes from",
                )
        if benchmark.step == "alpaca_eval":
            official_alpaca_eval.require()
        for cell in cells:
            judge = getattr(benchmark_config(cell, benchmark), "judge", None)
            if isinstance(judge, LlmJudgeConfig):
                completions(judge)  # which refuses a key that is not there


def measured(
    outcome: Outcome,
    cell: Cell,
    policies: Mapping[int, Path],
    benchmarks: Mapping[str, Benchmark],
    run: Path,
    pool: Path,
) -> Outcome:
    """The outcome with what the benchmarks say of the policies, which are answered and judged where they are not yet.

    Args:
        outcome: of the cell.
        cell: whose policies they are.
        policies: the first one, and the last one: iteration to directory.
        benchmarks: by name.
        run: directory of the cell's run; each benchmark is an artifact in its iteration's folder.
        pool: of the study. The policy that several cells begin with is answered and judged once.
    """
    start, last = sorted(policies)
    found: dict[int, dict[str, ByPrompt]] = {start: {}, last: {}}
    for name, benchmark in benchmarks.items():
        config = benchmark_config(cell, benchmark)
        step = importlib.import_module(f"larpo_lib.steps.{benchmark.step}")
        files = {argument: Path(path) for argument, path in benchmark.files.items()}
        for iteration, policy in policies.items():
            evaluation = run / f"iteration-{iteration}" / name
            tell(f"{cell.key}: {name} of iteration {iteration}")
            with pooled(pool):
                step.run(config, policy=policy, evaluation=evaluation, **files)
            found[iteration].update(_measures(evaluation, benchmark.measures))
    return replace(outcome, values={**outcome.values, **found[last]}, start={**outcome.start, **found[start]})


def read_scores(evaluation: Path) -> dict[str, dict[str, float]]:
    """What a benchmark's artifact says of each item: metric, then item, to the value."""
    values: dict[str, dict[str, float]] = {}
    for row in read_table(evaluation, "scores"):
        values.setdefault(row["metric"], {})[row["item_id"]] = row["value"]
    return values


def _measures(evaluation: Path, measures: Mapping[str, str]) -> dict[str, ByPrompt]:
    values = read_scores(evaluation)
    missing = sorted({*measures.values()} - values.keys())
    if missing:
        raise ArtifactError(
            f"{evaluation}: has no {missing[0]}", remedy="Check the benchmark's files and measures, and delete it"
        )
    return {name: values[metric] for name, metric in measures.items()}
