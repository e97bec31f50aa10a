"""What is trained, and what every objective gets alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config import (
    ListsConfig,
    PrepareConfig,
    Section,
    SelectionConfig,
    SftConfig,
    TrainConfig,
    apply_settings,
)
from larpo_lib.config.load import check, load_tree
from larpo_lib.errors import ConfigError

Own = Literal["implicit_reward", "logp", "logp_per_token"]


class PolicyConfig(Section):
    """Shape of the policy with random weights."""

    vocabulary: PositiveInt = 2048
    hidden: PositiveInt = 64
    layers: PositiveInt = 2
    heads: PositiveInt = 2
    positions: PositiveInt = 1536
    seed: int = 0


class Selected(Section):
    """Training lists."""

    selection: SelectionConfig
    reference: str
    """The objective whose run leaves the reference log-probabilities of such lists, for all that read the same."""


class Trained(Section):
    """An objective's part in the study; its own settings are the defaults, which are its paper's."""

    lists: str
    """The lists it trains on."""
    score: Own
    """What it ranks responses by itself: d = a - b, a, or a / n."""


class Tuning(Section):
    """How the reference is fine-tuned on all responses to the training part."""

    learning_rate: PositiveFloat
    epochs: PositiveInt


class PreferenceStudy(Section):
    """Everything that decides the result."""

    kind: Literal["preferences"]
    name: str
    title: str
    prepare: PrepareConfig | None = None
    """The prompts with scored responses."""
    only: tuple[str, ...] = ()
    """Objectives to train; none: all."""
    folds: PositiveInt
    """Parts of the instructions; a seed holds out the part of its number, the search the last one."""
    seeds: PositiveInt
    """How many are reported."""
    learning_rates: tuple[PositiveFloat, ...] = Field(min_length=1)
    """Among which every objective's is chosen."""
    search_share: float = Field(gt=0.0, le=1.0)
    """Of a reported run's steps that a run of the search has."""
    epochs: PositiveInt
    """Of a reported run."""
    batch_size: PositiveInt
    """Lists an optimiser step."""
    max_prompt_tokens: PositiveInt
    micro_batch_tokens: PositiveInt
    policy: PolicyConfig
    sft: Tuning
    lists: Mapping[str, Selected]
    objectives: Mapping[str, Trained] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> PreferenceStudy:
        if self.seeds >= self.folds:
            raise ValueError(f"seeds: at most {self.folds - 1}, because the search needs its own held-out fold")
        lists = {one.lists for one in self.objectives.values()}
        if lists - self.lists.keys():
            raise ValueError(f"'{min(lists - self.lists.keys())}' is not one of the lists")
        if set(self.only) - self.objectives.keys():
            raise ValueError(f"only: '{min(set(self.only) - self.objectives.keys())}' is not one of the objectives")
        return self

    @property
    def prepared(self) -> PrepareConfig:
        """How the prompts with scored responses are read; `load` has seen to it that they are named."""
        assert self.prepare is not None
        return self.prepare

    @property
    def trained(self) -> dict[str, Trained]:
        """The objectives to train."""
        return {name: one for name, one in self.objectives.items() if name in self.only or not self.only}

    @property
    def search_seed(self) -> int:
        """Of the search alone: the last fold, which no reported seed holds out."""
        return self.folds - 1

    def lists_config(self, name: str) -> ListsConfig:
        """How training lists are built."""
        return ListsConfig(selection=self.lists[name].selection)

    def sft_config(self, seed: int) -> SftConfig:
        """How the reference is fine-tuned."""
        return SftConfig(
            learning_rate=self.sft.learning_rate,
            epochs=self.sft.epochs,
            batch_size=self.batch_size,
            **self._common(seed),
        )

    def train_config(
        self, objective: str, learning_rate: float, seed: int, max_steps: int | None = None
    ) -> TrainConfig:
        """How an objective is trained."""
        return TrainConfig.model_validate(
            {
                "objective": {"type": objective},
                "learning_rate": learning_rate,
                "epochs": self.epochs,
                "max_steps": max_steps,
                "batch_size": self.batch_size,
                **self._common(seed),
            }
        )

    def _common(self, seed: int) -> dict[str, Any]:
        return {
            "max_prompt_tokens": self.max_prompt_tokens,
            "max_tokens": self.policy.positions,
            "micro_batch_tokens": self.micro_batch_tokens,
            "save_steps": 1_000_000,
            "seed": seed,
        }


def load(path: Any, over: Mapping[str, Any]) -> PreferenceStudy:
    """Read the study from its file, with settings laid over.

    Raises:
        ConfigError: the file is none, or no file of lists is named.
    """
    study = check(PreferenceStudy, apply_settings(load_tree(path), dict(over)), path)
    if study.prepare is None:
        raise ConfigError(
            f"the study {study.name} needs a file of prompts with scored responses",
            remedy="Use --set prepare.source=FILE",
        )
    return study
