"""Steps that a study measures the first and the last policy of its runs by: benchmarks, and further evaluations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from larpo_lib.config import LarpoConfig, LlmJudgeConfig, Section, apply_settings, section_class
from larpo_lib.config.load import check, load_tree
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation import benchmarks
from larpo_lib.presets import FOLDER
from larpo_lib.steps.declarations import STEPS, Step
from larpo_lib.studies.study import WORLD, Cell, filled

_POLICY = "policy"


def measuring() -> dict[str, Step]:
    """The steps by which policies can be measured."""
    return {**{name: one.step for name, one in benchmarks().items()}, "evaluate": STEPS["evaluate"]}


class BenchmarkPreset(Section):
    """A benchmark, as a file in the folder `benchmarks` of the presets describes it."""

    step: str
    """Name of a benchmark that measures a policy, or `evaluate`."""
    files: Mapping[str, str] = Field(min_length=1)
    """Argument of the step to what it reads: a published file, which is to be brought along, or in braces what the run
    has: its `{world}`, the policy it begins with (`{start}`), its `{heldout}` prompts, and the `{evaluation}` of the
    policy that is measured."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Of the step's section; how answers are sampled, a cell's own settings say."""
    measures: Mapping[str, str] = Field(min_length=1)
    """Measure of the study to a metric of the report."""
    calls: NonNegativeInt = 0
    """Judge's decisions on one policy, at most, if each can be read."""

    @field_validator("step", mode="after")
    @classmethod
    def _exists(cls, step: str) -> str:
        known = [name for name, one in measuring().items() if _POLICY in _inputs(one)]
        if step not in known:
            raise ValueError(f"Input should be one of {', '.join(known)}")
        return step

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed = _inputs(measuring()[self.step], required=True) - {_POLICY, *self.files}
        if needed:
            raise ValueError(f"the step {self.step} also reads {min(needed)}; add it to files")
        return self


def _inputs(step: Step, *, required: bool = False) -> set[str]:
    return {one.name for one in step.inputs if one.required or not required}


def load_benchmarks(names: Sequence[str], over: Mapping[str, Any]) -> dict[str, BenchmarkPreset]:
    """Read the benchmarks of a study.

    Args:
        names: of their files in the folder; one with .toml at its end is a path.
        over: settings of a whole run; those in the section of a benchmark's step lie over the benchmark's own.

    Raises:
        ConfigError: a file is missing or none, or two benchmarks have a measure in common.
    """
    found = {}
    for name in names:
        path = Path(name) if name.endswith(".toml") else FOLDER / "benchmarks" / f"{name}.toml"
        read = check(BenchmarkPreset, load_tree(path), path)
        settings = apply_settings(dict(read.settings), dict(over.get(read.step, {})), section_class(read.step))
        found[path.stem] = read.model_copy(update={"settings": settings})
    measures = [measure for benchmark in found.values() for measure in benchmark.measures]
    twice = sorted({measure for measure in measures if measures.count(measure) > 1})
    if twice:
        raise ConfigError(
            f"two benchmarks have the measure '{twice[0]}'", remedy="Keep only one of them in the study's benchmarks"
        )
    return found


def benchmark_config(cell: Cell, benchmark: BenchmarkPreset) -> Section:
    """The settings of the step, which samples answers as the cell does where the benchmark does not say.

    Raises:
        ConfigError: they are none.
    """
    own = filled(dict(benchmark.settings), {WORLD: cell.world})
    tree = apply_settings(dict(cell.settings), {benchmark.step: own})
    config: Section = getattr(check(LarpoConfig, tree), benchmark.step)
    return config


def judge_notes(cell: Cell, named: Mapping[str, BenchmarkPreset]) -> list[str]:
    """Which language model judges in each benchmark that has one."""
    judges = {name: getattr(benchmark_config(cell, one), "judge", None) for name, one in named.items()}
    return [f"{name}: judged by {one.model}." for name, one in judges.items() if isinstance(one, LlmJudgeConfig)]


def check_benchmarks(cells: Sequence[Cell], named: Mapping[str, BenchmarkPreset]) -> None:
    """Check before any cell runs that files and keys are there.

    Raises:
        ConfigError: something is missing.
    """
    from larpo_lib.judging.completions import completions
    from larpo_lib.judging.known_judges import require_askable

    for name, benchmark in named.items():
        for argument, path in benchmark.files.items():
            if "{" not in path and not Path(path).exists():
                raise ConfigError(
                    f"{path}: no such file; the benchmark {name} needs it as {argument}",
                    remedy="Put the published file there; docs/evaluation.md says where to get it",
                )
        if benchmark.step in benchmarks():
            benchmarks()[benchmark.step].require()
        for cell in cells:
            judge = getattr(benchmark_config(cell, benchmark), "judge", None)
            if isinstance(judge, LlmJudgeConfig):
                require_askable(judge)
                completions(judge)  # which refuses a key that is not there
