"""One config class per step; those that train are in `larpo_lib.config.training`."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config.base import Fraction, Section, do_the_same
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import JudgeConfig, RerankerConfig, RetrieverConfig, SamplerConfig, SelectionConfig
from larpo_lib.config.mixins import Bootstrap, InParts, Limited, Sampling, SamplingAlike, ScoringAlike, Seeded


class Draw(Section):
    """Additional responses for each prompt, at another temperature."""

    count: PositiveInt
    """Number of responses."""
    temperature: NonNegativeFloat
    """Their sampling temperature. 0 is greedy."""


class SampleConfig(Sampling):
    """How candidates are sampled from the behaviour policy."""

    execution: ClassVar[frozenset[str]] = frozenset({"max_duplicate_share"})
    first: ClassVar[tuple[str, ...]] = ("sampler", "k", "temperature", "extra_draws")

    sampler: Annotated[SamplerConfig, Inherited("model", into="model", merge=True)] = Field(
        default_factory=SamplerConfig.default
    )
    k: int = Field(10, ge=1)
    """Number of responses for each prompt at `temperature`."""
    temperature: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 1.0
    """Sampling temperature: one value, or a list with one for each iteration (the last value is used for all later
    iterations)."""
    extra_draws: tuple[Draw, ...] = ()
    """Additional responses for each prompt, at other temperatures."""
    prompts_per_iteration: PositiveInt | None = None
    """Number of prompts in each iteration (M in the paper's algorithm). Each iteration takes the next ones of the
    shuffled prompts, starting over at the end. Not set: all."""
    max_duplicate_share: Fraction = 0.5
    """Warn if, at some temperature, more than this fraction of the responses repeat another response to the same
    prompt."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.temperature, tuple) and not self.temperature:
            raise ValueError("temperature is an empty list; set one value, or one for each iteration")
        if self.k + sum(draw.count for draw in self.extra_draws) < 2:
            raise ValueError("k = 1 makes lists of one response, which cannot be ranked; use k >= 2 or add extra_draws")
        return self


class RerankConfig(InParts):
    """Which reward model ranks the candidates."""

    reranker: RerankerConfig = Field(default_factory=RerankerConfig.default)
    """The reranker (reward model) that scores the candidates."""
    length_penalty: NonNegativeFloat = 0.0
    """Reward subtracted for each character of a response, to counter reward models that prefer long responses. Thoughts
    count only if the reranker has `thinking = "keep"`."""


class NegativesConfig(Section):
    """Replaces a list's worse responses with negatives of one kind, from easiest (`random`) to hardest (`cold`)."""

    kind: Literal["random", "related", "hot", "cold"]
    """The source of the negatives; see the guide."""
    retriever: RetrieverConfig = Field(default_factory=RetrieverConfig.default)
    """The retriever that finds related prompts (kind `related`)."""
    count: PositiveInt = 1
    """Number of responses."""
    reward_gap: PositiveFloat = 1.0
    """A response borrowed from another prompt (`random`, `related`) gets a reward this far below the worst response of
    the prompt itself."""

    @property
    def borrows(self) -> bool:
        """Whether negatives are responses to other prompts."""
        return self.kind in ("random", "related")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind != "related" and self.retriever.type != RetrieverConfig.usual:
            raise ValueError(
                f"the retriever is only used with kind 'related', but kind is '{self.kind}'; remove the retriever"
            )
        return self


class FiltersConfig(Section):
    """What is left out of training lists. Everything that is left out is counted in the metrics."""

    min_reward_gap: NonNegativeFloat = 0.0
    """Drop a list if the rewards of its best and its worst response are less than this apart."""
    max_length_ratio: float | None = Field(None, ge=1.0)
    """Drop a response that has more than this many times the characters of the prompt's best response, or that the
    best response is as much longer than. Not set: none."""
    max_similarity: float | None = Field(None, ge=0.0, lt=1.0)
    """Drop a response that shares more than this fraction of its and the other's runs of three words (Jaccard's
    coefficient) with a better response. Not set: only equal responses are dropped."""


class ListsConfig(Seeded):
    """Which responses make up a training list."""

    younger: ClassVar[tuple[str, ...]] = ("filters",)

    selection: SelectionConfig = Field(default_factory=SelectionConfig.default)
    """Which responses to a prompt form its list."""
    memory: Literal["current", "previous", "all"] = "all"
    """Which iterations' responses a list may contain: only the current one, also the previous one, or all."""
    negatives: NegativesConfig | None = None
    """Negatives that replace the list's worse responses. Not set: the selection chooses the worse responses too."""
    filters: FiltersConfig | None = None
    """Lists and responses to leave out, before responses are selected. Not set: none."""


WATCH = "watch_"
"""What the name of a watch's metric begins with."""


class WatchConfig(Section):
    """A further reward of the held-out responses that training does not see, to tell whether a policy exploits the one
    that it does see."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]*$")
    """Its name in the report, of small letters and digits. The metric is `watch_` with this name."""
    reranker: RerankerConfig
    """What gives the reward. Its scores must be comparable between lists."""

    @property
    def metric(self) -> str:
        """The metric of its mean."""
        return f"{WATCH}{self.name}"


class EvaluateConfig(Bootstrap, ScoringAlike, Limited, SamplingAlike):
    """Held-out quality of a policy as a retriever of responses."""

    first: ClassVar[tuple[str, ...]] = ("sampler", "n", "temperature")
    younger: ClassVar[tuple[str, ...]] = ("watch",)

    n: PositiveInt = 8
    """Number of sampled responses for each prompt: the N of Pass@N."""
    temperature: PositiveFloat = 1.0
    """Temperature of the sampled responses. One greedy response is generated in addition."""
    judge: JudgeConfig | None = None
    """Judge that decides whether a response is right. Not set: accuracy and Pass@N are not computed."""
    watch: tuple[WatchConfig, ...] = ()
    """Further rewards of the same responses, which show in the report whether the policy exploits the reward, by which
    `loop.early_stop` can end the loop, and which the gate can ask for."""

    @property
    def rerankers(self) -> dict[str, RerankerConfig]:
        """All that give rewards, by the names of their settings."""
        return {
            "evaluate.reranker": self.reranker,
            **{f"evaluate.watch {one.name}": one.reranker for one in self.watch},
        }

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [one.name for one in self.watch]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"watch contains the name '{twice[0]}' twice; give each a name of its own")
        for one in self.watch:
            if do_the_same(one.reranker, self.reranker):
                raise ValueError(
                    f"watch '{one.name}' has the settings of evaluate.reranker, so it says what mean_reward says; use "
                    "another reranker"
                )
        return self


class SearchTemperatureConfig(Bootstrap, ScoringAlike, Limited, SamplingAlike):
    """Searches a sampling temperature: tries the paper's grid on held-out prompts and chooses by the reranker's
    score."""

    first: ClassVar[tuple[str, ...]] = ("sampler", "temperatures", "k", "criterion")

    temperatures: tuple[NonNegativeFloat, ...] = Field((0.8, 0.9, 1.0, 1.1, 1.2), min_length=1)
    """Temperatures to try."""
    k: PositiveInt = 4
    """Number of responses for each prompt at each temperature."""
    criterion: Literal["best", "mean"] = "best"
    """`best`: the mean over prompts of the best reward of k, or of as many responses as every temperature has scored.
    `mean`: the mean reward."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = [value for value in self.temperatures if self.temperatures.count(value) > 1]
        if twice:
            raise ValueError(f"temperatures contains {twice[0]} twice; list each temperature once")
        return self


class ReportConfig(Section):
    """The HTML report."""

    title: str = "LarPO run"
    """Title of the page."""
    examples: NonNegativeInt = 6
    """Number of prompts to show with responses before and after training."""
