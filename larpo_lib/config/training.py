"""Settings of the steps that train: the optimiser, the processes it runs in, and what is trained."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config.base import ModelConfig, Section
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import ObjectiveConfig, Thinking
from larpo_lib.config.mixins import Seeded


class LaunchConfig(Section):
    """The processes that training uses, one for each GPU."""

    launcher: Literal["none", "torchrun", "deepspeed"] = "none"
    """`none`: one process. `torchrun`: each process holds the whole model. `deepspeed`: processes share it (ZeRO)."""
    nproc: PositiveInt = 1
    """Number of processes on this machine. Several machines find each other through torchrun's variables PET_NNODES,
    PET_NODE_RANK and PET_MASTER_ADDR."""
    nodes: PositiveInt = 1
    """Number of machines. On Kubeflow, more than one becomes a TrainJob; elsewhere, start the command on each machine
    with those variables."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """What DeepSpeed divides between processes: 1 the optimiser state, 2 also the gradients, 3 also the weights.
    0, which divides nothing, only trains in float32."""
    offload: bool = False
    """Let DeepSpeed keep the optimiser state in CPU memory."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.launcher == "none" and self.nproc > 1:
            raise ValueError(f"nproc {self.nproc} needs a launcher; set launcher to torchrun or deepspeed")
        if self.launcher == "none" and self.nodes > 1:
            raise ValueError(f"nodes {self.nodes} needs a launcher; set launcher to torchrun or deepspeed")
        if self.offload and (self.launcher != "deepspeed" or self.zero_stage == 0):
            raise ValueError("offload needs launcher = deepspeed and zero_stage 1, 2 or 3")
        return self


class LoraConfig(Section):
    """Low-rank adapters instead of all weights. They are merged into the published policy, and kept in its folder
    `adapter`."""

    r: PositiveInt = 16
    """Rank of the adapters."""
    alpha: PositiveInt = 32
    """Scale of the adapters: their product is multiplied by alpha / r."""
    targets: tuple[str, ...] | None = None
    """Names of the modules to adapt. Not set: all linear layers except the output layer."""


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

    model: Annotated[ModelConfig, Inherited("model", merge=True)] = ModelConfig()
    """How the model is loaded."""
    learning_rate: PositiveFloat = 5e-7
    """Learning rate of AdamW after the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Schedule of the learning rate after the warm-up, as in transformers: it would reach 0 one step after the last."""
    warmup_ratio: float = Field(0.1, ge=0.0, lt=1.0)
    """Fraction of the steps used for warm-up, rounded up to whole steps. Step k of w warm-up steps uses k/w of the
    learning rate, so no step has a rate of 0."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: PositiveFloat = 1.0
    """Maximum norm of the gradients; larger ones are clipped."""
    epochs: PositiveInt = 1
    """Number of passes over the lists (or demonstrations)."""
    max_steps: PositiveInt | None = None
    """Stop after this number of optimiser steps, whatever `epochs` is. Not set: train for `epochs`."""
    batch_size: PositiveInt = 128
    """Number of lists (or demonstrations) in each optimiser step, over all processes."""
    micro_batch_tokens: PositiveInt = 16384
    """Maximum tokens in a forward pass, including padding. A longer list gets its own pass."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: needs less memory and more time."""
    logprob_chunk_tokens: PositiveInt | None = None
    """Number of tokens whose logits are in memory at the same time. Not set: as many as fit in 128 MiB, on a GPU in 512
    MiB."""
    max_prompt_tokens: PositiveInt = 1024
    """Maximum tokens of a prompt. Longer prompts are dropped and counted."""
    max_tokens: PositiveInt = 2048
    """Maximum tokens of a prompt and its response together. Longer ones are dropped and counted."""
    lora: LoraConfig | None = None
    """Train low-rank adapters. Not set: all weights are trained."""
    save_steps: PositiveInt = 100
    """Number of optimiser steps between checkpoints. A killed step resumes from the last complete checkpoint."""
    checkpoints: str | None = None
    """Directory or s3:// URI for a copy of the newest checkpoints, for machines whose disk is lost with them."""
    launch: Annotated[LaunchConfig, Inherited("launch", merge=True)] = LaunchConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_prompt_tokens >= self.max_tokens:
            raise ValueError(
                f"max_prompt_tokens {self.max_prompt_tokens} leaves no room for a response in max_tokens "
                f"{self.max_tokens}"
            )
        return self


UnknownEnd = Literal["teach", "leave_open"]


class SftConfig(TrainingConfig):
    """Supervised fine-tuning on demonstrations."""

    last: ClassVar[tuple[str, ...]] = ("unknown_end",)

    learning_rate: PositiveFloat = 2e-5
    unknown_end: UnknownEnd = "teach"
    """What to do with a response whose end is unknown: `teach` the policy to end there, or train without an end-of-turn
    token (`leave_open`)."""


class TrainConfig(TrainingConfig):
    """List-wise preference optimisation."""

    last: ClassVar[tuple[str, ...]] = ("objective", "unknown_end")

    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig.default)
    """The loss to minimise; see the guide."""
    epochs: PositiveInt = 2
    unknown_end: UnknownEnd = "teach"
    """What to do with a response whose end is unknown: `teach` the policy to end there, or train without an end-of-turn
    token (`leave_open`). Responses with token ids are used unchanged."""


class RewardModelConfig(TrainingConfig):
    """A reward model from ranked responses."""

    last: ClassVar[tuple[str, ...]] = ("loss", "thinking")
    younger: ClassVar[tuple[str, ...]] = ("thinking",)

    learning_rate: PositiveFloat = 1e-5
    loss: Literal["pairwise", "listwise"] = "listwise"
    """`pairwise`: Bradley-Terry on every pair with different rewards. `listwise`: Plackett-Luce on the whole list."""
    thinking: Thinking = "strip"
