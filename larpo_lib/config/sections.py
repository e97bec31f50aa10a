"""One config class per step; those that train are in `larpo_lib.config.training`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config.base import Fraction, Section
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import JudgeConfig, RerankerConfig, RetrieverConfig, SamplerConfig, SelectionConfig
from larpo_lib.config.mixins import Bootstrap, InParts, Limited, Sampling, SamplingAlike, ScoringAlike, Seeded


class Draw(Section):
    """Some more responses a prompt, at another temperature."""

    count: PositiveInt
    """How many responses."""
    temperature: NonNegativeFloat
    """0 is greedy."""


class SampleConfig(Sampling):
    """How candidates are sampled from the behaviour policy."""

    execution: ClassVar[frozenset[str]] = frozenset({"max_duplicate_share"})
    first: ClassVar[tuple[str, ...]] = ("sampler", "k", "temperature", "extra_draws")

    sampler: Annotated[SamplerConfig, Inherited("model", into="model")] = Field(default_factory=SamplerConfig.default)
    k: int = Field(10, ge=1)
    """Responses a prompt at `temperature`."""
    temperature: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 1.0
    """One value, or one for each iteration (the last one holds from there on)."""
    extra_draws: tuple[Draw, ...] = ()
    """More responses a prompt, at temperatures of their own."""
    prompts_per_iteration: PositiveInt | None = None
    """M of the algorithm; null means all. Each iteration takes the next M of the shuffled prompts, cyclically."""
    max_duplicate_share: Fraction = 0.5
    """A warning is given for a temperature at which a larger share of the responses repeat another one of their
    prompt."""

    @model_validator(mode="after")
    def _check(self) -> SampleConfig:
        if isinstance(self.temperature, tuple) and not self.temperature:
            raise ValueError("temperature is an empty list; give one value, or one for each iteration")
        if self.k + sum(draw.count for draw in self.extra_draws) < 2:
            raise ValueError("k = 1 makes lists of one response, which cannot be ranked; use k >= 2 or add extra_draws")
        return self


class RerankConfig(InParts):
    """Which reward model ranks the candidates."""

    reranker: RerankerConfig = Field(default_factory=RerankerConfig.default)
    """The reward model."""
    length_penalty: NonNegativeFloat = 0.0
    """Reward taken off for each character of a response, against reward models that like length."""


class NegativesConfig(Section):
    """Replaces the list's losers by negatives of one kind, easiest (`random`) to hardest (`cold`)."""

    kind: Literal["random", "related", "hot", "cold"]
    """Where negatives come from; see the guide."""
    retriever: RetrieverConfig = Field(default_factory=RetrieverConfig.default)
    """What finds related prompts (`related`)."""
    count: PositiveInt = 1
    """How many responses."""
    reward_gap: PositiveFloat = 1.0
    """A borrowed response (`random`, `related`) is scored this far below the worst response of the prompt's own."""

    @property
    def borrows(self) -> bool:
        """Whether negatives are responses to other prompts."""
        return self.kind in ("random", "related")

    @model_validator(mode="after")
    def _check(self) -> NegativesConfig:
        if self.kind != "related" and self.retriever.type != RetrieverConfig.usual:
            raise ValueError(f"the retriever finds related prompts, but kind is '{self.kind}'; leave the retriever out")
        return self


class ListsConfig(Seeded):
    """Which responses make up a training list."""

    selection: SelectionConfig = Field(default_factory=SelectionConfig.default)
    """Which responses of a prompt make up its list."""
    memory: Literal["current", "previous", "all"] = "all"
    """Whose responses a list may hold: of this iteration, also of the one before, or of all before."""
    negatives: NegativesConfig | None = None
    """What replaces the losers; not set: they are the selection's own."""


class EvaluateConfig(Bootstrap, ScoringAlike, Limited, SamplingAlike):
    """Held-out quality of a policy as a retriever of responses."""

    first: ClassVar[tuple[str, ...]] = ("sampler", "n", "temperature")

    n: PositiveInt = 8
    """Responses a prompt: N of Pass@N."""
    temperature: PositiveFloat = 1.0
    """Of the sampled responses; a greedy one is drawn besides."""
    judge: JudgeConfig | None = None
    """Says right or wrong; without one there is no accuracy and no Pass@N."""


class SearchTemperatureConfig(Bootstrap, ScoringAlike, Limited, SamplingAlike):
    """Which temperature to sample at: the paper's grid on held-out prompts, picked by the reranker's score."""

    first: ClassVar[tuple[str, ...]] = ("sampler", "temperatures", "k", "criterion")

    temperatures: tuple[NonNegativeFloat, ...] = Field((0.8, 0.9, 1.0, 1.1, 1.2), min_length=1)
    """Those to try."""
    k: PositiveInt = 4
    """Responses a prompt at each temperature."""
    criterion: Literal["best", "mean"] = "best"
    """`best`: the mean over prompts of the best reward of k. `mean`: the mean reward."""

    @model_validator(mode="after")
    def _check(self) -> SearchTemperatureConfig:
        twice = [value for value in self.temperatures if self.temperatures.count(value) > 1]
        if twice:
            raise ValueError(f"temperatures names {twice[0]} twice; name every temperature once")
        return self


class PromoteConfig(Bootstrap):
    """The gate between a trained policy and the registry's `champion`."""

    first: ClassVar[tuple[str, ...]] = ("model_name", "metric", "margin", "confidence")

    model_name: str = "larpo-policy"
    """Name of the registered model in MLflow."""
    metric: str = Field("reward", pattern=r"^[a-z][a-z0-9_]*$")
    """What the gate compares, item by item: `reward`, `accuracy` or `greedy_accuracy` of the step `evaluate`, or a
    metric in a benchmark's `scores.parquet`, such as `win_rate`, `lc_win_rate`, `overall` or `accuracy`."""
    margin: NonNegativeFloat = 0.0
    """The new policy must beat the champion by more than this."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Least probability, by paired bootstrap, that the new policy is the better one."""
    resamples: PositiveInt = 2000


class ReportConfig(Section):
    """The HTML report."""

    title: str = "LarPO run"
    """Heading of the page."""
    examples: NonNegativeInt = 6
    """Prompts shown with the responses before and after."""
