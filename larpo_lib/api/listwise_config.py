"""The settings of `ListwiseTrainer`."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor
from transformers import TrainingArguments

from larpo_lib.config import ObjectiveConfig, TrainConfig
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError
from larpo_lib.objectives import ListBatch, Objective

Loss = Callable[[ListBatch], "Tensor"]
"""From a ListBatch of B lists to a (B,) loss."""
Given = Loss | Objective[Any] | ObjectiveConfig | dict[str, Any] | str | None
"""An objective: a function, one of larpo with or without its settings, or these as in `ListwiseConfig`."""


@dataclass
class ListwiseConfig(TrainingArguments):
    """`transformers.TrainingArguments`, and what is trained how.

    A batch is of lists: `per_device_train_batch_size` of them go through a forward pass together, and an optimiser step
    takes `gradient_accumulation_steps` such batches; its loss is the mean over all their lists.

    Attributes:
        objective: an objective's name, or its settings with the name as `type`: `{"type": "dpo", "beta": 0.1}`. All of
            them: docs/configuration.md.
        max_length: most tokens of a prompt with its response. Longer responses are dropped from their list and counted.
        max_prompt_length: most tokens of a prompt; lists with longer ones are dropped and counted. None: no limit but
            `max_length`.
        unknown_end: whether responses are taken to end where their text ends (`teach`), or get no end (`leave_open`).
        padding_free: lay all lists of a forward pass out in one row, without padding.
        logprob_chunk_tokens: tokens whose logits are in memory at one time; None: as many as fit in 128 MiB, on a
            GPU in 512 MiB.
        learning_rate: of AdamW.
    """

    # As of TrainingArguments: a type that HfArgumentParser knows, and JSON where a command line gives text.
    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "objective"]  # noqa: RUF012

    objective: dict[str, Any] | str | None = field(
        default="listmle", metadata={"help": "Name of the objective, or its settings as JSON."}
    )
    max_length: int = field(
        default=2048, metadata={"help": "Most tokens of a prompt with its response; longer ones are dropped."}
    )
    max_prompt_length: int | None = field(
        default=None, metadata={"help": "Most tokens of a prompt; lists with longer ones are dropped."}
    )
    unknown_end: Literal["teach", "leave_open"] = field(
        default="teach", metadata={"help": "Whether the end of a response's text is taught as its end."}
    )
    padding_free: bool = field(
        default=False, metadata={"help": "Lay all lists of a forward pass out in one row, without padding."}
    )
    logprob_chunk_tokens: int | None = field(
        default=None, metadata={"help": "Tokens whose logits are in memory at one time."}
    )
    learning_rate: float = field(default=1e-6, metadata={"help": "Learning rate of AdamW."})

    def __post_init__(self) -> None:
        """Refuse float16 and limits that leave no room; checkpoint gradients as data-parallel training can."""
        super().__post_init__()
        if self.mixed_precision == "fp16":  # by `fp16`, or by `accelerate launch`
            raise ConfigError(
                "training with float16 is not supported",
                remedy="Set bf16 in place of fp16, or neither to train in float32",
            )
        if self.max_length < 2 or not 1 <= (self.max_prompt_length or 1) < self.max_length:
            raise ConfigError(
                f"max_prompt_length {self.max_prompt_length} leaves no room for a response in max_length "
                f"{self.max_length}",
                remedy="Increase max_length",
            )
        if self.gradient_checkpointing and self.gradient_checkpointing_kwargs is None:
            self.gradient_checkpointing_kwargs = {"use_reentrant": False}

    def lists(self, objective: dict[str, Any] | str | None = None) -> TrainConfig:
        """The settings of `larpo train` that say how lists are encoded.

        Args:
            objective: in place of this one's.

        Raises:
            ConfigError: the objective or one of its settings is unknown, or a setting is of the wrong type.
        """
        given = self.objective if objective is None else objective
        prompt = self.max_prompt_length or self.max_length - 1
        tree = {
            "objective": {"type": given} if isinstance(given, str) else given,
            "max_tokens": self.max_length,
            "max_prompt_tokens": prompt,
            "unknown_end": self.unknown_end,
        }
        return check(TrainConfig, json.loads(json.dumps(tree)))


@dataclass(frozen=True)
class Criterion:
    """What a trainer minimises, and what it reads of a batch.

    Attributes:
        function: from a ListBatch of B lists to a (B,) loss.
        name: for messages.
        needs_reference: it reads the reference's log-probabilities.
        needs_kl: it reads an estimate of the KL divergence from the reference.
        beta: the scale of rewards that are implicit in log-ratios.
        settings: of an objective of larpo; None: the function is the user's.
    """

    function: Loss
    name: str
    needs_reference: bool = True
    needs_kl: bool = False
    beta: float = 1.0
    settings: ObjectiveConfig | None = None

    def __call__(self, batch: ListBatch) -> Tensor:
        """The (B,) loss of each list.

        Raises:
            ConfigError: the function gives anything else.
        """
        loss = self.function(batch)
        lists = len(batch.mask)
        shape = tuple(getattr(loss, "shape", ("?",)))
        if shape != (lists,):
            raise ConfigError(
                f"the objective {self.name} gave a result of shape {shape} for a batch of {lists} lists",
                remedy="Return a tensor with one loss for each list",
            )
        return loss


def chosen_criterion(given: Given, args: ListwiseConfig) -> Criterion:
    """The objective that a trainer was given, else that of its settings.

    Raises:
        LarpoError: it cannot be used.
    """
    if isinstance(given, Objective):
        given = given.settings.model_validate({})
    if callable(given):
        return Criterion(given, getattr(given, "__name__", type(given).__name__))
    settings = given if isinstance(given, ObjectiveConfig) else args.lists(given).objective
    settings.check()
    beta = float(getattr(settings, "beta", 1.0))
    return Criterion(settings.make(), settings.in_words, settings.needs_reference, settings.needs_kl, beta, settings)
