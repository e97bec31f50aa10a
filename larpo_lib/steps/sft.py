"""Supervised fine-tuning on demonstrations: the policy the loop starts from."""

from __future__ import annotations

from pathlib import Path

from larpo_lib.artifacts import Metrics, Work, produce
from larpo_lib.config import SftConfig
from larpo_lib.errors import LarpoError
from larpo_lib.policies.chat import end_of_turn_id
from larpo_lib.policies.layout import padded
from larpo_lib.policies.load import load_policy, load_tokenizer, stop_token_ids
from larpo_lib.policies.scoring import attach_scorer
from larpo_lib.steps.train import summarize
from larpo_lib.tables import read_table
from larpo_lib.training.collator import Collator, TrainingList
from larpo_lib.training.encode import encode_demonstrations
from larpo_lib.training.launch import save_policy, train_policy
from larpo_lib.training.trainer import MetricLogger, SftTrainer


def run(
    config: SftConfig,
    *,
    policy: Path,
    demonstrations: Path,
    trained: Path,
    log: MetricLogger = lambda _row, _step: None,
) -> Metrics:
    """Fine-tune `policy` on `demonstrations` and publish it as `trained`, a Hugging Face directory.

    Args:
        config: the optimiser.
        policy: the policy to start from.
        demonstrations: artifact with `demonstrations.parquet`.
        trained: artifact to publish.
        log: called with each optimiser step's metrics.
    """

    def make(work: Work) -> Metrics:
        return _sft(config, policy, demonstrations, work, log)

    return produce("sft", config, {"policy": policy, "demonstrations": demonstrations}, trained, make)


def _sft(config: SftConfig, policy: Path, demonstrations: Path, work: Work, log: MetricLogger) -> Metrics:
    tokenizer = load_tokenizer(policy, config.model)
    rows = read_table(demonstrations, "demonstrations")
    model = load_policy(policy, config.model.model_copy(update={"dtype": "float32"}))
    end_of_turn = end_of_turn_id(tokenizer, stop_token_ids(model, tokenizer))
    encoded, counts = encode_demonstrations(rows, tokenizer, config, end_of_turn)
    if not encoded:
        raise LarpoError(
            f"{demonstrations}: no demonstration is left to train on: {vars(counts)}", remedy="Raise sft.max_tokens"
        )
    attach_scorer(model, config.logprob_chunk_tokens)
    pad_id = int(tokenizer.pad_token_id)
    history = train_policy(
        lambda args, callbacks: SftTrainer(
            model,
            args,
            train_dataset=[TrainingList(item, [0.0]) for item in encoded],
            data_collator=Collator(padded(pad_id), pad_id),
            callbacks=callbacks,
        ),
        config,
        work.scratch,
        log,
    )
    save_policy(model, tokenizer, history, work.data)
    return summarize(encoded, counts, history)
