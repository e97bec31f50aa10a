"""What a benchmark declares of itself. Nothing heavy is imported, so that the command line can read it at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larpo_lib.errors import ConfigError
from larpo_lib.steps.declarations import Input, Option, Output, Step

if TYPE_CHECKING:
    from larpo_lib.config import EvaluateConfig
    from larpo_lib.config.base import Section
    from larpo_lib.reporting.evaluation import Score
    from larpo_lib.statistics.estimates import Bootstrap, Estimate, Values

POLICY = Input("policy", "optional", model=True)
JUDGE_CHECK = Input(
    "judge_check", "optional",
    "Artifact of `larpo judge-check` of this judge, a language model; the report shows it beside the scores.",
)  # fmt: skip
"""Of a benchmark that a language model judges; see `judge_checks.check_told`."""
JUDGED = (
    Option(
        "decisions", Path, "File for the judge's decisions, written as they arrive. Default: "
            "<evaluation>.decisions.jsonl.",
    ),
    Option(
        "max_judge_calls", int,
        "Maximum number of judge calls. If more are needed, none is made and the error names the number.",
        least=1, setting="judge.max_calls",
    ),
)  # fmt: skip
"""Options of a benchmark that a language model judges."""


@dataclass(frozen=True)
class Effort:
    """What a benchmark takes for one policy, at most, as far as its files and settings tell.

    Attributes:
        responses: that policies give; None: unknown.
        calls: of a judge, such as may cost money; None: unknown.
    """

    responses: int | None = None
    calls: int | None = None


@dataclass(frozen=True)
class Number:
    """A number that a benchmark reports.

    Attributes:
        name: its key in the metrics, such as `lc_win_rate`. Words in braces, here and below, are filled in for each of
            a family of numbers, such as `pass_at_{n}`.
        label: as people write it, such as "LC win rate".
        unit: "%" of percentages, "" of shares in [0, 1] and of rewards, else what it counts, such as "characters".
        meaning: one sentence on what it says, and one on what it must not be compared with.
        example: what stands in braces where the family is explained, as far as it is not the word itself.
        lower_is_better: a policy gains if it goes down, as a length does.
        by_n: it depends on how many responses were sampled, so that those of other numbers are never compared.
        by_reward: it is of rewards, so that those of another reward are never compared.
        by_responses: it is of a policy's responses, and compared only if these were sampled and judged alike.
    """

    name: str
    label: str
    unit: str
    meaning: str
    example: Mapping[str, str] = field(default_factory=dict)
    lower_is_better: bool = False
    by_n: bool = False
    by_reward: bool = False
    by_responses: bool = True

    def filled(self, **words: object) -> Number:
        """One of a family."""
        name, label, meaning = (text.format(**words) for text in (self.name, self.label, self.meaning))
        return replace(self, name=name, label=label, meaning=meaning, example={})

    def is_named(self, name: str) -> bool:
        """Whether this is the number of that name, or the family that it belongs to."""
        parts = (re.escape(part) for part in re.split(r"\{\w+\}", self.name))
        return re.fullmatch(".+".join(parts), name) is not None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, as the `__init__.py` of its folder declares it.

    Its command, its section of the settings, what the report, the documents and the help say of its numbers, and what
    `larpo doctor` looks for are made from this. `settings.py` holds the settings, `step.py` the step, a function `run`,
    and perhaps functions `effort` and `impossible`, and `README.md` its page among the documents.

    Attributes:
        name: of its folder, its section in the settings, and its step.
        title: as people write it.
        summary: what it does, in a sentence that begins with a verb.
        settings_class: the name of the class in `settings.py`.
        inputs: what its step reads.
        judged_by: who says what a response is worth, in a few words.
        needs: what has to be brought along, in a few words.
        numbers: what it reports, the most important one first.
        counts: what its counts say: how many items there were, and what was dropped or not understood.
        compare: what its numbers must not be compared with, as "numbers of ...; ...".
        asks_by: optional inputs without which it cannot ask a policy.
        options: further ones of its command.
        packages: that it cannot do without, each with what is to be installed.
        rescoring: how numbers are worked out again from what is stored, if they can be; a step without settings, whose
            function returns what is printed.
    """

    name: str
    title: str
    summary: str
    settings_class: str
    inputs: tuple[Input, ...]
    judged_by: str
    needs: str
    numbers: tuple[Number, ...]
    counts: Mapping[str, str]
    compare: str
    asks_by: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    rescoring: Step | None = None

    def settings(self) -> type[Section]:
        """The class of its section."""
        found: type[Section] = getattr(import_module(f"larpo_lib.evaluation.{self.name}.settings"), self.settings_class)
        return found

    def number(self, name: str, **words: Any) -> Number:
        """The number of that name, with `words` in its braces."""
        return next(one for one in self.numbers if one.name == name).filled(**words)

    def score(self, name: str, estimate: Estimate, **words: Any) -> Score:
        """The number of that name, as a report has it, with `words` in its braces."""
        from larpo_lib.reporting.evaluation import Score

        one = self.number(name, **words)
        return Score(one.name, one.label, estimate, one.unit, one.meaning)

    def mean(self, name: str, values: Mapping[str, Values], bootstrap: Bootstrap, **words: Any) -> Score:
        """`score` of a mean over items, with its interval and standard error; not defined without items.

        If all items have one value, there is neither interval nor standard error.

        Args:
            name: of the number.
            values: number, then item, to value.
            bootstrap: how intervals are made.
            words: in the number's braces.
        """
        by_item = values[self.number(name, **words).name]
        return self.score(name, bootstrap.mean_and_error([*by_item.values()]), **words)

    def explanations(self) -> dict[str, str]:
        """What each number and each count means."""
        named = [one.filled(**{"n": "n", **one.example}) for one in self.numbers]  # a family as documents name it
        numbers = {one.name: f"{one.unit and f'In {one.unit}: '}{one.meaning}" for one in named}
        return {**numbers, **self.counts}

    @property
    def step(self) -> Step:
        """Its step, with the help of its command."""
        numbers = " ".join(f"{name}: {meaning}" for name, meaning in self.explanations().items())
        stored = (
            "Each decision is stored as it arrives: after a stop, the same command continues and repeats no judge call."
        )
        parts = [self.summary, numbers, f"Do not compare {self.compare}", *([stored] if self.options else [])]
        run, outputs = f"larpo_lib.evaluation.{self.name}.step:run", (Output("evaluation"),)
        return Step(self.name, run, self.name, self.inputs, outputs, "\n\n".join(parts), self.options)

    def effort(self, config: Section, files: Mapping[str, Path], heldout: int | None) -> Effort:
        """What it takes for one policy, as the function `effort` in `step.py` says it; without one, nothing is known.

        Args:
            config: its settings.
            files: that it reads, by input, such as the questions.
            heldout: number of a run's held-out prompts, for a benchmark that asks these; None: unknown.

        Raises:
            LarpoError: a file is not as it should be.
        """
        told = getattr(import_module(f"larpo_lib.evaluation.{self.name}.step"), "effort", None)
        found: Effort = Effort() if told is None else told(config, files, heldout)
        return found

    def impossible(self, config: Section, metric: str, files: Mapping[str, str], evaluate: EvaluateConfig) -> str:
        """Why the settings of a run cannot give the gate a metric, as `impossible` in `step.py` says; else nothing.

        Args:
            config: its own.
            metric: that it declares, or one of a family.
            files: that it reads, by input, as `loop.benchmark_files` names them.
            evaluate: of the evaluations of the run.
        """
        told = getattr(import_module(f"larpo_lib.evaluation.{self.name}.step"), "impossible", None)
        return "" if told is None else str(told(config, metric, files, evaluate))

    def require(self) -> dict[str, str]:
        """The versions of the packages that it cannot do without, told without their import.

        Raises:
            ConfigError: one is not installed.
        """
        return {package: _version(package, self.packages[package]) for package in self.packages}


def not_from_1_to(most: int, n: str, setting: str) -> str:
    """Why there is no number of N responses, where `setting` is how many are sampled; else nothing."""
    return "" if n in map(str, range(1, most + 1)) else f"N must be a number from 1 to {setting} = {most}"


def _version(package: str, remedy: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise ConfigError(f"this needs the package {package}, which is not installed", remedy=remedy) from None
