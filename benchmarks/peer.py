"""TRL's side: DPOTrainer at the best settings it supports."""

import tempfile
from collections.abc import Sequence
from typing import Any

import datasets
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from benchmarks.measure import Clock, Run, TrainingClock
from benchmarks.models import Size, word_tokenizer, words
from benchmarks.workloads import TokenList


class _TimedTrainer(DPOTrainer):
    """Times its reference pass, which it makes while it is set up."""

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        self.reference_clock = Clock()
        self.reference_clock.start()
        found = super()._precompute_ref_logps(dataset, name, batch_size)
        self.reference_clock.stop()
        return found


def train(
    policy: PreTrainedModel,
    size: Size,
    pairs: Sequence[TokenList],
    *,
    pairs_per_step: int,
    pass_pairs: int,
    learning_rate: float,
    callbacks: Sequence[TrainerCallback] = (),
    **settings: Any,
) -> Run:
    """Train `policy` on pairs for one epoch.

    Args:
        policy: changed in place.
        size: what the policy was made from.
        pairs: lists of two.
        pairs_per_step: pairs an optimiser step; divides their number.
        pass_pairs: pairs a forward pass, of the reference too.
        learning_rate: constant.
        callbacks: of the trainer.
        settings: further fields of DPOConfig.
    """
    datasets.disable_progress_bars()
    assert len(pairs) % pairs_per_step == 0 == pairs_per_step % pass_pairs, "uneven steps"
    timer = TrainingClock()
    with tempfile.TemporaryDirectory() as directory:
        trainer = _TimedTrainer(
            model=policy,
            args=DPOConfig(
                output_dir=directory,
                per_device_train_batch_size=pass_pairs,
                gradient_accumulation_steps=pairs_per_step // pass_pairs,
                learning_rate=learning_rate,
                lr_scheduler_type="constant",
                num_train_epochs=1,
                bf16=policy.device.type == "cuda",
                use_cpu=policy.device.type == "cpu",
                dataloader_pin_memory=policy.device.type != "cpu",
                **(_best_settings(size) | settings),
            ),
            train_dataset=_dataset(pairs),
            processing_class=word_tokenizer(size.vocabulary),
            callbacks=[timer, *callbacks],
        )
        trainer.remove_callback(PrinterCallback)
        _check_tokens(trainer.train_dataset, pairs)
        done = trainer.train()
    logged = [row["grad_norm"] for row in trainer.state.log_history if "grad_norm" in row]
    reference = zip(trainer.train_dataset["ref_chosen_logps"], trainer.train_dataset["ref_rejected_logps"], strict=True)
    return Run(
        timer.clock.seconds,
        trainer.reference_clock.seconds,
        timer.clock.cpu_seconds + trainer.reference_clock.cpu_seconds,
        done.global_step,
        done.training_loss,
        logged,
        [[float(chosen), float(rejected)] for chosen, rejected in reference],
    )


def _best_settings(size: Size) -> dict[str, Any]:
    """What makes DPOTrainer fastest with full padding: `padding_free` is switched off by TRL itself in this version."""
    return {
        "beta": 0.1,
        "max_length": None,  # the lists already fit
        "precompute_ref_log_probs": True,
        "gradient_checkpointing": size.gradient_checkpointing,
        "train_sampling_strategy": "group_by_length",  # less padding
        "remove_unused_columns": False,  # keeps the column of lengths
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 0,
    }


def _dataset(pairs: Sequence[TokenList]) -> Dataset:
    return Dataset.from_list(
        [
            {
                "prompt": words(pair.prompt) + " ",
                "chosen": words(pair.responses[0]),
                "rejected": words(pair.responses[1]),
                "length": len(pair.prompt) + max(len(response) for response in pair.responses),
            }
            for pair in pairs
        ]
    )


def _check_tokens(dataset: Dataset, pairs: Sequence[TokenList]) -> None:
    """TRL must train on the very tokens that the other side trains on."""
    for row, pair in zip(dataset, pairs, strict=True):
        if row["prompt_ids"] != pair.prompt or [row["chosen_ids"], row["rejected_ids"]] != pair.responses:
            raise RuntimeError("TRL tokenized a pair differently")
