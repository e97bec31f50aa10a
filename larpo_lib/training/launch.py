"""Runs a trainer so that it can be killed at any instant and goes on from its last whole checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers import TrainingArguments as Arguments

from larpo_lib.config import TrainingConfig
from larpo_lib.policies.load import model_device, model_dtype
from larpo_lib.progress import progress
from larpo_lib.training.trainer import MetricLogger, PolicyTrainer, StepLogger

_WHOLE = "larpo-checkpoint-is-whole"

TrainerFactory = Callable[[Arguments, list[TrainerCallback]], PolicyTrainer]

HISTORY = "history.jsonl"
_HISTORY_FIELDS_LEFT_OUT = {"total_flos"}


def training_arguments(config: TrainingConfig, checkpoints: Path) -> Arguments:
    """The settings of `transformers.Trainer`.

    Weights and optimiser stay in float32; with bfloat16 the forward and backward passes run under autocast.
    """
    on_cpu = model_device(config.model).type == "cpu"
    arguments = Arguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=config.batch_size // config.micro_batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule if config.schedule != "constant" else "constant_with_warmup",
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps if config.max_steps is not None else -1,
        bf16=model_dtype(config.model) is torch.bfloat16,
        gradient_checkpointing=config.gradient_checkpointing,
        logging_steps=1,
        save_steps=config.save_steps,
        save_total_limit=2,  # the one before stays until the new one is whole
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=on_cpu,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu,
        log_level="error",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # never DataParallel, which would cut rows apart
    return arguments


def train_policy(
    make_trainer: TrainerFactory, config: TrainingConfig, scratch: Path, log: MetricLogger
) -> list[dict[str, float]]:
    """Train, from the last whole checkpoint in `scratch` if there is one.

    Returns:
        One row of metrics for each optimiser step, those before an interruption included.
    """
    checkpoints = scratch / "checkpoints"
    resume = _last_whole_checkpoint(checkpoints)
    steps = _StepProgress()
    trainer = make_trainer(training_arguments(config, checkpoints), [_MarkWhole(), StepLogger(log), steps])
    trainer.remove_callback(PrinterCallback)
    with steps:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return _history(trainer.state)


def save_policy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, history: Sequence[dict[str, float]], directory: Path
) -> None:
    """Write a plain Hugging Face directory, with the training history beside it."""
    model.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    (directory / HISTORY).write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in history), "utf-8")


def read_history(trained: Path) -> list[dict[str, float]]:
    """The training history of a policy that `save_policy` wrote."""
    return [json.loads(line) for line in (trained / HISTORY).read_text("utf-8").splitlines()]


def _last_whole_checkpoint(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end; torn ones are removed."""
    whole: list[Path] = []
    for checkpoint in sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])):
        if (checkpoint / _WHOLE).is_file():
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return whole[-1] if whole else None


def _history(state: TrainerState) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if name not in _HISTORY_FIELDS_LEFT_OUT}
        for row in state.log_history
        if "loss" in row
    ]


class _MarkWhole(TrainerCallback):
    """Marks a checkpoint once all of it is written."""

    def on_save(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / _WHOLE).touch()


class _StepProgress(TrainerCallback):
    """Shows optimiser steps as they are done."""

    def __init__(self) -> None:
        self._shown: Any = None
        self._advance: Callable[[int], None] | None = None

    def on_train_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._shown = progress("train", state.max_steps, state.global_step)
            self._advance = self._shown.__enter__()

    def on_step_end(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._advance:
            self._advance(1)

    def __enter__(self) -> _StepProgress:
        return self

    def __exit__(self, *failure: Any) -> None:
        if self._shown is not None:
            self._shown.__exit__(*failure)
