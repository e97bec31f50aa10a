"""What is compared, and what every objective gets alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config import LarpoConfig, PrepareConfig, Section, apply_settings
from larpo_lib.config.kinds import ObjectiveConfig, SingleObjectiveConfig
from larpo_lib.config.load import check, load_tree
from larpo_lib.errors import ConfigError
from larpo_lib.presets import FOLDER, preset_file
from larpo_lib.studies.preferences.study import PreferenceStudy
from larpo_lib.studies.preferences.study import load as load_preferences

STRENGTHS = ("beta", "tau", "delta", "sft_weight")
"""Settings that say how far, or how surely, a policy is to move; the first one that an objective has is searched."""


@dataclass(frozen=True)
class Setting:
    """What an objective is trained with.

    Attributes:
        objective: its name.
        learning_rate: of the training.
        strength: value of the setting that `strength_of` names.
    """

    objective: str
    learning_rate: float
    strength: float

    @property
    def changed(self) -> dict[str, float]:
        """The one setting of the objective that the study chooses."""
        return {strength_of(self.objective)[0]: self.strength}

    @property
    def folder(self) -> str:
        """Name of a run's directory."""
        return f"{self.objective}-{self.learning_rate:g}-{self.strength:g}"


class Reach(Section):
    """How far a search may go from its middle, in steps up and down; it begins with one step in both directions."""

    learning_rates: PositiveInt
    strengths: PositiveInt


class Playground(Section):
    """Runs on the embedded world: one iteration, of which only the training differs."""

    preset: str = "quickstart"
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Laid over the preset's."""
    search: Mapping[str, Any] = Field(default_factory=dict)
    """Laid over that while searching."""
    search_seed: int = 1000
    """Of the search alone, which has a world of its own."""
    learning_rate: PositiveFloat
    """In the middle of the search."""
    reach: Reach

    def config(self, settings: Mapping[str, Any], seed: int) -> LarpoConfig:
        """Of all runs of a seed, with settings that say where its world is."""
        tree = apply_settings(load_tree(preset_file(self.preset)), dict(self.settings))
        tree = apply_settings(tree, dict(self.search) if seed == self.search_seed else {})
        return check(LarpoConfig, {**apply_settings(tree, dict(settings)), "seed": seed})


class Published(Section):
    """Runs on published lists, of policies that see one token back."""

    folds: PositiveInt = 4
    """Parts of the prompts; a seed holds out the part of its number, the search the last one."""
    vocabulary: PositiveInt = 512
    """Tokens of the tokenizer, which is learnt from the training part."""
    smoothing: PositiveFloat = 0.5
    """Added to each count of the reference, which is fitted to all responses of the training part."""
    batch_size: PositiveInt = 16
    """Lists a step of the one epoch."""
    learning_rate: PositiveFloat
    """In the middle of the search."""
    reach: Reach


class ObjectivesStudy(Section):
    """Everything that decides the result."""

    kind: Literal["objectives"]
    name: str
    title: str
    prepare: PrepareConfig | None = None
    """The published prompts with scored responses."""
    only: tuple[str, ...] = ()
    """Objectives to compare; none: all."""
    seeds: PositiveInt
    """How many are reported."""
    learning_rate_ratio: float = Field(gt=1.0)
    """Of neighbouring learning rates that are tried."""
    strength_ratio: float = Field(gt=1.0)
    """Of neighbouring strengths, around each objective's default."""
    playground: Playground
    published: Published
    choices: tuple[str, ...] = ()
    """What somebody who reads the results should know of how they were made."""

    @model_validator(mode="after")
    def _check(self) -> ObjectivesStudy:
        if unknown := set(self.only) - {*compared()}:
            raise ValueError(f"only: '{min(unknown)}' is not one of the objectives")
        return self

    @property
    def objectives(self) -> list[str]:
        """Those that are compared."""
        return [name for name in compared() if name in self.only or not self.only]

    def preferences(self) -> PreferenceStudy:
        """The study that has the published lists, and says on which of their responses each objective trains."""
        assert self.prepare is not None
        over = {"prepare": self.prepare.model_dump(exclude_unset=True), "seeds": self.seeds, "only": self.objectives}
        return load_preferences(FOLDER / "studies" / "preferences.toml", {**over, "folds": self.published.folds})


def around(middle: float, ratio: float, place: int) -> float:
    """The value so many steps from the middle, with the digits that are shown."""
    return float(f"{middle * ratio**place:.3g}")


def compared() -> list[str]:
    """All objectives with a formula of their own: no functions of a user's, and no mixtures."""
    return [
        name
        for name, entry in ObjectiveConfig.entries().items()
        if issubclass(entry, SingleObjectiveConfig) and any(one in entry.model_fields for one in STRENGTHS)
    ]


def strength_of(objective: str) -> tuple[str, float]:
    """The setting of an objective that is searched beside the learning rate, and its default."""
    fields = ObjectiveConfig.entries()[objective].model_fields
    name = next(one for one in STRENGTHS if one in fields)
    return name, float(fields[name].default)


def load(path: Path, over: Mapping[str, Any]) -> ObjectivesStudy:
    """Read the study from its file, with settings laid over.

    Raises:
        ConfigError: the file is none, or no file of lists is named.
    """
    study = check(ObjectivesStudy, apply_settings(load_tree(path), dict(over)), path)
    if study.prepare is None:
        raise ConfigError(
            f"the study {study.name} needs a file of prompts with scored responses",
            remedy="Use --set prepare.source=FILE",
        )
    return study
