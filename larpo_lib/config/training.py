"""Settings of the steps that train: the optimiser, the processes it runs in, and what is trained."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config.base import ModelConfig, Section
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import ObjectiveConfig
from larpo_lib.config.mixins import Seeded


class LaunchConfig(Section):
    """The processes a training runs in, one a GPU."""

    launcher: Literal["none", "torchrun", "deepspeed"] = "none"
    """`none`: this process alone. `torchrun`: each process holds the whole model. `deepspeed`: they share it (ZeRO)."""
    nproc: PositiveInt = 1
    """Processes on this machine. Several machines are told by torchrun's PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR."""
    nodes: PositiveInt = 1
    """Machines. On Kubeflow several become a TrainJob; elsewhere start the command on each, with those variables."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """What DeepSpeed shares out: 1 the optimiser's state, 2 also the gradients, 3 also the weights."""
    offload: bool = False
    """DeepSpeed keeps the optimiser's state in the CPU's memory."""

    @model_validator(mode="after")
    def _check(self) -> LaunchConfig:
        if self.launcher == "none" and self.nproc > 1:
            raise ValueError(f"nproc {self.nproc} needs a launcher; set launcher to torchrun or deepspeed")
        if self.launcher == "none" and self.nodes > 1:
            raise ValueError(f"nodes {self.nodes} needs a launcher; set launcher to torchrun or deepspeed")
        if self.offload and (self.launcher != "deepspeed" or self.zero_stage == 0):
            raise ValueError("offload needs launcher = deepspeed and zero_stage 1, 2 or 3")
        return self


class LoraConfig(Section):
    """Low-rank adapters in place of all weights; they are merged into the policy that is published."""

    r: PositiveInt = 16
    """Rank of the adapters."""
    alpha: PositiveInt = 32
    """Their product is scaled by alpha / r."""
    targets: tuple[str, ...] | None = None
    """Names of the modules to adapt; null: every linear layer but the output layer."""


class TrainingConfig(Seeded):
    """Settings of the optimiser, shared by all steps that train."""

    execution: ClassVar[frozenset[str]] = frozenset(
        {
            "launch",
            "micro_batch_tokens",
            "gradient_checkpointing",
            "logprob_chunk_tokens",
            "save_steps",
            "checkpoints",
        }
    )

    model: Annotated[ModelConfig, Inherited("model")] = ModelConfig()
    """How the model is loaded."""
    learning_rate: PositiveFloat = 5e-7
    """Of AdamW, at the end of the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Of the learning rate, after the warm-up: as transformers has it, down to 0 one step behind the last."""
    warmup_ratio: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the steps, rounded up, over which the learning rate rises: of w steps the k-th has k/w of it. No step
    has 0."""
    weight_decay: NonNegativeFloat = 0.0
    """Of AdamW."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are clipped to this norm."""
    epochs: PositiveInt = 1
    """Passes over the lists (or demonstrations)."""
    max_steps: PositiveInt | None = None
    """Stop after so many optimiser steps, whatever `epochs` says; not set: as many as `epochs` needs."""
    batch_size: PositiveInt = 128
    """Lists (or demonstrations) per optimiser step, over all processes."""
    micro_batch_tokens: PositiveInt = 16384
    """Tokens, padding included, per forward pass; a list that is longer has a pass of its own."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    logprob_chunk_tokens: PositiveInt | None = None
    """Tokens whose logits exist at one time; null: as many as take 128 MiB."""
    max_prompt_tokens: PositiveInt = 1024
    """Longer prompts are dropped and counted."""
    max_tokens: PositiveInt = 2048
    """Longest prompt plus response; longer ones are dropped and counted."""
    lora: LoraConfig | None = None
    """Null: all weights are trained."""
    save_steps: PositiveInt = 100
    """Optimiser steps between checkpoints; a killed step goes on from the last whole one."""
    checkpoints: str | None = None
    """A directory or s3:// URI that also keeps the newest checkpoint, for machines whose disk goes with them."""
    launch: Annotated[LaunchConfig, Inherited("launch", merge=True)] = LaunchConfig()

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.max_prompt_tokens >= self.max_tokens:
            raise ValueError(
                f"max_prompt_tokens {self.max_prompt_tokens} leaves no room in max_tokens {self.max_tokens}"
            )
        return self


UnknownEnd = Literal["teach", "leave_open"]


class SftConfig(TrainingConfig):
    """Supervised fine-tuning on demonstrations."""

    last: ClassVar[tuple[str, ...]] = ("unknown_end",)

    learning_rate: PositiveFloat = 2e-5
    unknown_end: UnknownEnd = "teach"
    """Whether a response of which nothing says how it ended is taught to end there, or gets no end-of-turn token."""


class TrainConfig(TrainingConfig):
    """List-wise preference optimisation."""

    last: ClassVar[tuple[str, ...]] = ("objective", "unknown_end")

    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig.default)
    """What training minimises; see the guide."""
    epochs: PositiveInt = 2
    unknown_end: UnknownEnd = "teach"
    """Whether a response of which nothing says how it ended is taught to end there, or gets no end-of-turn token. Those
    with token ids are taken as they are."""


class RewardModelConfig(TrainingConfig):
    """A reward model from ranked responses."""

    last: ClassVar[tuple[str, ...]] = ("loss",)

    learning_rate: PositiveFloat = 1e-5
    loss: Literal["pairwise", "listwise"] = "listwise"
    """`pairwise`: Bradley-Terry on every pair with different rewards. `listwise`: Plackett-Luce on the whole list."""
