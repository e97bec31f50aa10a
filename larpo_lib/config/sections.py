"""One config class per step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config.base import ModelConfig, Section
from larpo_lib.config.objectives import ListMleConfig, ObjectiveConfig

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]


class ColumnsConfig(Section):
    """Names of the columns to read; null means: find it among the usual names."""

    messages: str | None = None
    prompt: str | None = None
    response: str | None = None
    reference: str | None = None
    responses: str | None = None
    rewards: str | None = None


class PrepareConfig(Section):
    """Where prompts, demonstrations or already ranked responses come from."""

    source: str
    """A .jsonl, .json, .csv or .parquet file (compressed or not), an s3:// URI, or a `datasets` name."""
    split: str = "train"
    columns: ColumnsConfig = ColumnsConfig()
    limit: PositiveInt | None = None
    heldout: NonNegativeInt = 0
    """Prompts kept apart for evaluation; chosen by `seed`."""
    seed: Seed = 0


class TrainingConfig(Section):
    """Settings of the optimiser, shared by `sft` and `train`."""

    model: ModelConfig = ModelConfig()
    learning_rate: PositiveFloat = 5e-7
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(0.1, ge=0.0, lt=1.0)
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    epochs: PositiveInt = 1
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt = 128
    """Lists (or demonstrations) per optimiser step, over all ranks."""
    micro_batch_size: PositiveInt = 4
    """Lists (or demonstrations) per forward pass."""
    gradient_checkpointing: bool = False
    logprob_chunk_tokens: PositiveInt = 2048
    """Tokens whose logits exist at one time."""
    max_prompt_tokens: PositiveInt = 1024
    max_tokens: PositiveInt = 2048
    """Longest prompt plus response; longer ones are dropped and counted."""
    save_steps: PositiveInt = 100
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}"
            )
        if self.max_prompt_tokens >= self.max_tokens:
            raise ValueError(
                f"max_prompt_tokens {self.max_prompt_tokens} leaves no room in max_tokens {self.max_tokens}"
            )
        return self


class SftConfig(TrainingConfig):
    """Supervised fine-tuning on demonstrations."""

    learning_rate: PositiveFloat = 2e-5


class TrainConfig(TrainingConfig):
    """List-wise preference optimisation."""

    objective: ObjectiveConfig = ListMleConfig()
    epochs: PositiveInt = 2


class HfSamplerConfig(Section):
    """Sampling by `transformers` generate, in this process."""

    type: Literal["hf"] = "hf"
    batch_size: PositiveInt = 64
    """Responses generated at one time."""
    model: ModelConfig = ModelConfig()


SamplerConfig = HfSamplerConfig


class Draw(Section):
    """Some more responses a prompt, at another temperature."""

    count: PositiveInt
    temperature: NonNegativeFloat


class SampleConfig(Section):
    """How candidates are sampled from the behaviour policy."""

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
    shard_prompts: PositiveInt = 256
    """Prompts a partial result holds; a restarted step goes on after the last whole one."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> SampleConfig:
        if isinstance(self.temperature, tuple) and not self.temperature:
            raise ValueError("temperature is an empty list; give one value, or one for each iteration")
        if self.k + sum(draw.count for draw in self.extra_draws) < 2:
            raise ValueError("k = 1 makes lists of one response, which cannot be ranked; use k >= 2 or add extra_draws")
        return self


class VerifierConfig(Section):
    """Checks the final number of a response against the reference answer.

    `exact`: 1 if the final number is right, else 0. `graded`: a weighted sum of the right final number, of the share of
    stated equations that hold, and of stating a final answer at all.
    """

    type: Literal["verifier"] = "verifier"
    mode: Literal["exact", "graded"] = "graded"
    answer_weight: NonNegativeFloat = 0.6
    steps_weight: NonNegativeFloat = 0.3
    format_weight: NonNegativeFloat = 0.1


class ClassifierConfig(Section):
    """Any AutoModelForSequenceClassification with one label as a reward model."""

    type: Literal["classifier"] = "classifier"
    path: str
    model: ModelConfig = ModelConfig()
    batch_size: PositiveInt = 16
    max_tokens: PositiveInt = 2048
    """Longer conversations are dropped and counted."""


RerankerConfig = Annotated[VerifierConfig | ClassifierConfig, Field(discriminator="type")]


class RerankConfig(Section):
    """Which reward model ranks the candidates."""

    reranker: RerankerConfig = VerifierConfig()
    shard_prompts: PositiveInt = 256


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


class NegativesConfig(Section):
    """Replaces the list's losers by negatives of one kind, easiest (`random`) to hardest (`cold`)."""

    kind: Literal["random", "related", "hot", "cold"]
    count: PositiveInt = 1
    reward_gap: PositiveFloat = 1.0
    """A borrowed response (`random`, `related`) is scored this far below the worst response of the prompt's own."""


class ListsConfig(Section):
    """Which responses make up a training list."""

    selection: SelectionConfig = TopBottomConfig()
    memory: Literal["current", "previous", "all"] = "all"
    """Whose responses a list may hold: of this iteration, also of the one before, or of all before."""
    negatives: NegativesConfig | None = None
    seed: Seed = 0


class EvaluateConfig(Section):
    """Held-out quality of a policy as a retriever of responses."""

    sampler: SamplerConfig = HfSamplerConfig()
    n: PositiveInt = 8
    """Responses a prompt: N of Pass@N."""
    temperature: PositiveFloat = 1.0
    top_p: Fraction = 1.0
    max_new_tokens: PositiveInt = 2048
    max_prompt_tokens: PositiveInt = 1024
    limit: PositiveInt | None = None
    reranker: RerankerConfig = VerifierConfig()
    verifier: VerifierConfig | None = None
    """Judges right or wrong; without one there is no accuracy and no Pass@N."""
    resamples: PositiveInt = 1000
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    seed: Seed = 0


class PromoteConfig(Section):
    """The gate between a trained policy and the registry's `champion`."""

    model_name: str = "larpo-policy"
    metric: Literal["accuracy", "reward", "greedy_accuracy"] = "reward"
    margin: NonNegativeFloat = 0.0
    """The new policy must beat the champion by more than this."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    resamples: PositiveInt = 2000
    seed: Seed = 0


class ReportConfig(Section):
    """The HTML report."""

    title: str = "LarPO run"
    examples: NonNegativeInt = 6
