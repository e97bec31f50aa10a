"""One config class per step; those that train are in `larpo_lib.config.training`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config.base import Fraction, ModelConfig, Section, Seed
from larpo_lib.config.rerankers import ClassifierConfig, RerankerConfig, VerifierConfig
from larpo_lib.config.samplers import HfSamplerConfig, SamplerConfig


class ColumnsConfig(Section):
    """Names of the columns to read; null means: find it among the usual names."""

    messages: str | None = None
    """Column with a conversation; of prompts, a reply at its end is left out."""
    prompt: str | None = None
    system: str | None = None
    """Column of the system prompt."""
    history: str | None = None
    """Column of the turns before the prompt: messages, or pairs of what was asked and replied."""
    response: str | None = None
    reference: str | None = None
    responses: str | None = None
    rewards: str | None = None
    chosen: str | None = None
    """Column of the better response of a pair."""
    rejected: str | None = None
    """Column of the worse response of a pair."""
    finish_reason: str | None = None
    """Column, or field in an object of `responses`, that says how a response ended: stop, length or null."""
    token_ids: str | None = None
    """The same for a response's token ids, end-of-turn token included, as the policy's tokenizer numbers them."""
    ignore: tuple[str, ...] = ()
    """Columns that are not looked at."""


class TemplateConfig(Section):
    """A policy whose chat template must be able to render every prompt."""

    path: str
    model: ModelConfig = ModelConfig()
    served: bool = False
    """A server renders its prompts, which takes names of special tokens in messages for the tokens."""


class PrepareConfig(Section):
    """Where prompts, demonstrations or already ranked responses come from."""

    execution: ClassVar[frozenset[str]] = frozenset({"templates", "reward_models"})  # their content counts instead

    source: str
    """A .jsonl, .json, .csv or .parquet file (compressed or not), a directory or pattern (`data/*.jsonl`) of them, a
    directory that `save_to_disk` wrote, an s3:// URI, or a `datasets` name."""
    split: str = "train"
    """Of a `datasets` name, or of a directory that `DatasetDict.save_to_disk` wrote."""
    columns: ColumnsConfig = ColumnsConfig()
    invalid: Literal["refuse", "drop"] = "refuse"
    """What becomes of a row that cannot be used, such as one with an empty prompt: it stops the step, or is dropped and
    counted."""
    templates: tuple[TemplateConfig, ...] = ()
    """Policies that every prompt is rendered for before anything is sampled; unless set, that of the run. What a
    template refuses, leaves out or renders to nothing is treated as `invalid` says."""
    reward_models: tuple[ClassifierConfig, ...] = ()
    """The same for reward models that read a chat template's text."""
    limit: PositiveInt | None = None
    """Take the first so many prompts in the source's order, after duplicates and held-out prompts are gone (of
    demonstrations: so many demonstrations); null: all."""
    heldout: NonNegativeInt = 0
    """So many prompts of the whole source are kept apart for evaluation, beside those of `limit`; chosen by `seed` and
    content."""
    seed: Seed = 0


class Draw(Section):
    """Some more responses a prompt, at another temperature."""

    count: PositiveInt
    temperature: NonNegativeFloat


class SampleConfig(Section):
    """How candidates are sampled from the behaviour policy."""

    execution: ClassVar[frozenset[str]] = frozenset({"max_duplicate_share", "processes"})

    sampler: SamplerConfig = HfSamplerConfig()
    k: int = Field(10, ge=1)
    """Responses a prompt at `temperature`."""
    temperature: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 1.0
    """One value, or one for each iteration (the last one holds from there on)."""
    extra_draws: tuple[Draw, ...] = ()
    top_p: Fraction = 1.0
    max_new_tokens: PositiveInt = 2048
    max_prompt_tokens: PositiveInt = 1024
    """Longer prompts are dropped and counted."""
    prompts_per_iteration: PositiveInt | None = None
    """M of the algorithm; null means all. Each iteration takes the next M of the shuffled prompts, cyclically."""
    max_duplicate_share: Fraction = 0.5
    """A warning is given for a temperature at which a larger share of the responses repeat another one of their
    prompt."""
    part_prompts: PositiveInt = 256
    """Prompts a partial result holds; a restarted step goes on after the last whole one."""
    processes: PositiveInt = 1
    """Processes on this machine that share the prompts, each with GPUs of its own."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> SampleConfig:
        if isinstance(self.temperature, tuple) and not self.temperature:
            raise ValueError("temperature is an empty list; give one value, or one for each iteration")
        if self.k + sum(draw.count for draw in self.extra_draws) < 2:
            raise ValueError("k = 1 makes lists of one response, which cannot be ranked; use k >= 2 or add extra_draws")
        return self


class RerankConfig(Section):
    """Which reward model ranks the candidates."""

    execution: ClassVar[frozenset[str]] = frozenset({"processes"})

    reranker: RerankerConfig = VerifierConfig()
    length_penalty: NonNegativeFloat = 0.0
    """Reward taken off for each character of a response, against reward models that like length."""
    part_prompts: PositiveInt = 256
    processes: PositiveInt = 1
    """Processes on this machine that share the prompts, each with a GPU of its own."""


class BestWorstConfig(Section):
    """The best against the worst response: a pair."""

    type: Literal["best_worst"] = "best_worst"


class TopBottomConfig(Section):
    """The `top` best and the `bottom` worst responses."""

    type: Literal["top_bottom"] = "top_bottom"
    top: PositiveInt = 2
    bottom: PositiveInt = 2


class OneVsRestConfig(Section):
    """The best response and every strictly worse one."""

    type: Literal["one_vs_rest"] = "one_vs_rest"


class WholeListConfig(Section):
    """Every distinct response."""

    type: Literal["whole_list"] = "whole_list"


SelectionConfig = Annotated[
    BestWorstConfig | TopBottomConfig | OneVsRestConfig | WholeListConfig, Field(discriminator="type")
]


class Bm25Config(Section):
    """Prompts are related by the words they share (BM25)."""

    type: Literal["bm25"] = "bm25"


class EmbeddingConfig(Section):
    """Prompts are related by the cosine of their sentence embeddings."""

    execution: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    type: Literal["embedding"] = "embedding"
    path: str
    """Local directory of a sentence-transformers model."""
    device: str = "auto"
    """`auto`: the first GPU if there is one, else the CPU."""
    batch_size: PositiveInt = 64
    """Prompts embedded at one time."""


RetrieverConfig = Annotated[Bm25Config | EmbeddingConfig, Field(discriminator="type")]


class NegativesConfig(Section):
    """Replaces the list's losers by negatives of one kind, easiest (`random`) to hardest (`cold`)."""

    kind: Literal["random", "related", "hot", "cold"]
    retriever: RetrieverConfig = Bm25Config()
    """What finds related prompts (`related`)."""
    count: PositiveInt = 1
    reward_gap: PositiveFloat = 1.0
    """A borrowed response (`random`, `related`) is scored this far below the worst response of the prompt's own."""

    @model_validator(mode="after")
    def _check(self) -> NegativesConfig:
        if self.kind != "related" and isinstance(self.retriever, EmbeddingConfig):
            raise ValueError(f"the retriever finds related prompts, but kind is '{self.kind}'; leave the retriever out")
        return self


class ListsConfig(Section):
    """Which responses make up a training list."""

    selection: SelectionConfig = TopBottomConfig()
    memory: Literal["current", "previous", "all"] = "all"
    """Whose responses a list may hold: of this iteration, also of the one before, or of all before."""
    negatives: NegativesConfig | None = None
    seed: Seed = 0


class VerifierJudgeConfig(Section):
    """Right if the final answer of a response is that of the reference."""

    type: Literal["verifier"] = "verifier"
    mode: Literal["exact", "math"] = "exact"
    """`exact`: answers are numbers. `math`: they are expressions, intervals, sets, units or words as well."""


JudgeConfig = VerifierJudgeConfig


class EvaluateConfig(Section):
    """Held-out quality of a policy as a retriever of responses."""

    execution: ClassVar[frozenset[str]] = frozenset({"processes"})

    sampler: SamplerConfig = HfSamplerConfig()
    n: PositiveInt = 8
    """Responses a prompt: N of Pass@N."""
    temperature: PositiveFloat = 1.0
    top_p: Fraction = 1.0
    max_new_tokens: PositiveInt = 2048
    max_prompt_tokens: PositiveInt = 1024
    limit: PositiveInt | None = None
    reranker: RerankerConfig = VerifierConfig()
    judge: JudgeConfig | None = None
    """Says right or wrong; without one there is no accuracy and no Pass@N."""
    part_prompts: PositiveInt = 256
    processes: PositiveInt = 1
    """Processes on this machine that share the prompts, each with GPUs of its own."""
    resamples: PositiveInt = 1000
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    seed: Seed = 0


class SearchTemperatureConfig(Section):
    """Which temperature to sample at: the paper's grid on held-out prompts, picked by the reranker's score."""

    execution: ClassVar[frozenset[str]] = frozenset({"processes"})

    sampler: SamplerConfig = HfSamplerConfig()
    temperatures: tuple[NonNegativeFloat, ...] = Field((0.8, 0.9, 1.0, 1.1, 1.2), min_length=1)
    k: PositiveInt = 4
    """Responses a prompt at each temperature."""
    criterion: Literal["best", "mean"] = "best"
    """`best`: the mean over prompts of the best reward of k. `mean`: the mean reward."""
    top_p: Fraction = 1.0
    max_new_tokens: PositiveInt = 2048
    max_prompt_tokens: PositiveInt = 1024
    limit: PositiveInt | None = None
    reranker: RerankerConfig = VerifierConfig()
    part_prompts: PositiveInt = 256
    processes: PositiveInt = 1
    """Processes on this machine that share the prompts, each with GPUs of its own."""
    resamples: PositiveInt = 1000
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Probability that an interval is to hold."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> SearchTemperatureConfig:
        twice = [value for value in self.temperatures if self.temperatures.count(value) > 1]
        if twice:
            raise ValueError(f"temperatures names {twice[0]} twice; name every temperature once")
        return self


class PromoteConfig(Section):
    """The gate between a trained policy and the registry's `champion`."""

    model_name: str = "larpo-policy"
    metric: str = Field("reward", pattern=r"^[a-z][a-z0-9_]*$")
    """What the gate compares, item by item: `reward`, `accuracy` or `greedy_accuracy` of the step `evaluate`, or a
    metric in a benchmark's `scores.parquet`, such as `win_rate`, `lc_win_rate`, `overall` or `accuracy`."""
    margin: NonNegativeFloat = 0.0
    """The new policy must beat the champion by more than this."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    resamples: PositiveInt = 2000
    seed: Seed = 0


class ReportConfig(Section):
    """The HTML report."""

    title: str = "LarPO run"
    examples: NonNegativeInt = 6
