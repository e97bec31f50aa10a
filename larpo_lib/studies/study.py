"""An experiment as a grid: what varies, over what, and what was published about it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from larpo_lib.config import LarpoConfig, Section, apply_settings
from larpo_lib.config.load import check, load_tree
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation import benchmarks
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.presets import FOLDER
from larpo_lib.studies.estimate import Assumptions

ScaleName = Literal["tiny", "small", "paper"]
Faithful = Literal["paper", "as_published"]
Tree = dict[str, Any]

WORLD = "world"
"""Section of what all runs of a seed share at the scale `small`."""
START = "start"
"""Label of the policy before training, where an axis has the runs'."""


class Variant(Section):
    """One place on an axis."""

    label: str
    preset: str = ""
    """What it puts in the name of the scale's preset, where that names its axis."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Laid over the settings below it; a table that names another `type` replaces the one below it whole."""
    as_published: Mapping[str, Any] | None = None
    """Settings instead, of the authors' published scripts where those differ from the paper."""
    tiny: Mapping[str, Any] = Field(default_factory=dict)
    """Laid over that at the scale `tiny` only; `small` and `paper` likewise."""
    small: Mapping[str, Any] = Field(default_factory=dict)
    paper: Mapping[str, Any] = Field(default_factory=dict)
    x: float | None = None
    """Its place on the horizontal axis of a figure."""

    def chosen(self, scale: ScaleName, faithful: Faithful) -> Tree:
        """What it lays over the settings below it."""
        published = faithful == "as_published" and self.as_published is not None
        settings = dict(self.as_published or {}) if published else dict(self.settings)
        return apply_settings(settings, dict(getattr(self, scale)))


class Axis(Section):
    """What varies."""

    name: str
    variants: tuple[Variant, ...] = Field(min_length=1)


class Search(Section):
    """Settings that every cell's own choice is made among, so that all have the same budget."""

    setting: str
    """Dotted name of what is searched, such as `train.learning_rate`."""
    values: tuple[float, ...] = Field(min_length=1)
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Laid over a cell's settings while searching, such as fewer iterations."""
    seed: int = 1000
    """Of the search alone: no run that is reported has it."""


class Documents(Section):
    """A collection in the form of BEIR, for retrievers of documents."""

    queries: str
    corpus: str
    relevance: str


class Scale(Section):
    """How large the experiment is."""

    preset: str
    """The settings below all others, as `larpo presets` names them, or a .toml file.

    An axis in braces stands for what its variants put there: `{model}-{reward model}`.
    """
    settings: Mapping[str, Any] = Field(default_factory=dict)
    axes: tuple[Axis, ...] = ()
    """That this scale varies besides, such as models; they come first."""
    seeds: PositiveInt = 1
    measures: tuple[str, ...] = Field(min_length=1)
    """Metrics of the evaluation and of the benchmarks to compare, the most important one first."""
    checked_by: tuple[str, ...] = ()
    """Those by which the paper's orderings are looked for. Not set: the first one."""
    search: Search | None = None
    retrieval: RetrievalConfig | None = None
    """How the policy before and after training is measured as a retriever, where it is."""
    documents: Documents | None = None
    """That retrievers search; at the scale `tiny` they are the embedded world's."""
    benchmarks: tuple[str, ...] = ()
    """That the policy before and after training is measured by.

    Names of files in the folder `benchmarks` beside the studies', or paths of others.
    """
    cost: Assumptions | None = None
    """What an estimate of the cost rests on."""
    choices: tuple[str, ...] = ()
    """What the paper leaves open, and what is chosen here."""


class PublishedCell(Section):
    """Numbers that the paper gives for one cell."""

    cell: tuple[str, ...]
    """Labels, of every axis of the scale `paper`; the last one may be `start`, the policy before training."""
    values: dict[str, float]


class Ordering(Section):
    """Something the paper finds: one variant above another one."""

    better: str
    worse: str


class Study(Section):
    """One table or figure of the paper."""

    name: str
    title: str
    question: str
    source: str
    """Which table or figure."""
    judge: str = ""
    """What gave the published numbers."""
    layout: Literal["table", "curve", "by_n"] = "table"
    """`curve`: against the last axis; `by_n`: measures such as `pass_at_8` against N."""
    axes: tuple[Axis, ...] = Field(min_length=1)
    """What the experiment varies at every scale; the last one is compared within the others."""
    baseline: str
    """Label on the last axis that the others are compared with."""
    orderings: tuple[Ordering, ...] = ()
    published: tuple[PublishedCell, ...] = ()
    tiny: Scale
    small: Scale | None = None
    paper: Scale

    @model_validator(mode="after")
    def _check(self) -> Study:
        labels = {variant.label for variant in self.axes[-1].variants}
        named = {self.baseline, *(label for pair in self.orderings for label in (pair.better, pair.worse))}
        if named - labels:
            raise ValueError(f"'{min(named - labels)}' is not on the axis '{self.axes[-1].name}'")
        return self

    def scale(self, name: ScaleName) -> Scale:
        """The scale of that name.

        Raises:
            ConfigError: the study does not have it.
        """
        found: Scale | None = getattr(self, name)
        if found is None:
            raise ConfigError(f"the study '{self.name}' has no scale '{name}'", remedy="Use --scale tiny or paper")
        return found


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        labels: one for each axis.
        seed: of the run.
        settings: of the whole run, as a tree.
        x: its place on the horizontal axis of a figure, if it has one.
        world: directory of what the seed's runs are made of, if the scale has one.
    """

    labels: tuple[str, ...]
    seed: int
    settings: Mapping[str, Any]
    x: float | None = None
    world: Path | None = None

    @property
    def key(self) -> str:
        """Name of its directory."""
        return "-".join([*map(slug, self.labels), f"seed{self.seed}"])

    def config(self) -> LarpoConfig:
        """The settings, checked.

        Raises:
            ConfigError: they are none.
        """
        try:
            return check(LarpoConfig, dict(self.settings))
        except ConfigError as error:
            raise ConfigError(f"cell {self.key}: {error.problem}", remedy=error.remedy) from None


def kind_of(path: Path) -> str:
    """What a study's cells are: `grid`, runs of the loop, or `preferences`.

    Raises:
        ConfigError: the file is missing, or no TOML.
    """
    return str(_read(path).get("kind", "grid"))


def load_study(path: Path) -> Study:
    """Read a study.

    Raises:
        ConfigError: the file is missing, no TOML, or no study.
    """
    return check(Study, _read(path), path)


def cells(
    study: Study,
    scale: ScaleName,
    seeds: int | None = None,
    faithful: Faithful = "paper",
    over: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """Every run of a study, cell by cell in the order of the axes, and within a cell by seed.

    Args:
        study: the grid.
        scale: at which size.
        seeds: how many, 0 to seeds - 1; None: as many as the scale says.
        faithful: to the paper, or to the authors' published scripts where those differ.
        over: settings over those of every cell; sections of benchmarks, and `world`, are passed over.
    """
    size = study.scale(scale)
    given = {name: value for name, value in (over or {}).items() if name not in {*benchmarks(), WORLD}}
    axes = (*size.axes, *study.axes)
    made = []
    for variants in itertools.product(*(axis.variants for axis in axes)):
        named = {axis.name: variant.preset for axis, variant in zip(axes, variants, strict=True)}
        tree = apply_settings(_preset(size.preset, named), dict(size.settings))
        for variant in variants:
            tree = apply_settings(tree, variant.chosen(scale, faithful))
        tree = apply_settings(tree, given)
        labels = tuple(variant.label for variant in variants)
        made += [Cell(labels, seed, {**tree, "seed": seed}, variants[-1].x) for seed in range(seeds or size.seeds)]
    return made


def candidates(cell: Cell, search: Search) -> Iterator[tuple[float, Cell]]:
    """The runs among which a cell's setting is chosen: each value with its run, of the search's seed."""
    for value in search.values:
        settings = apply_settings({**cell.settings, "seed": search.seed}, dict(search.settings))
        yield value, Cell((*cell.labels, f"{value:g}"), search.seed, with_setting(settings, search.setting, value))


def with_setting(tree: Mapping[str, Any], name: str, value: Any) -> Tree:
    """The tree with one dotted setting changed."""
    first, _, rest = name.partition(".")
    return {**tree, first: with_setting(tree.get(first, {}), rest, value) if rest else value}


def filled(tree: Any, places: Mapping[str, Any]) -> Any:
    """Settings with what the run has in place of names in braces, such as `{world}`."""
    if isinstance(tree, Mapping):
        return {key: filled(value, places) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [filled(value, places) for value in tree]
    for name, place in places.items() if isinstance(tree, str) else ():
        tree = tree.replace(f"{{{name}}}", str(place))
    return tree


def _preset(name: str, named: Mapping[str, str]) -> Tree:
    try:
        return _read(FOLDER / f"{name.format_map(named).removesuffix('.toml')}.toml")
    except (KeyError, ValueError, IndexError):
        raise ConfigError(
            f"preset '{name}' does not contain an axis", remedy=f"Write one of these in braces: {', '.join(named)}"
        ) from None


def _read(path: Path) -> Tree:
    if not path.exists():
        raise ConfigError(f"{path}: no such file", remedy="Use one of the existing studies")
    return load_tree(path)


def slug(text: str) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^a-z0-9.]+", "_", text.lower()).strip("_")
