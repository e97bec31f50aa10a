"""Distils the reranker's order into the policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from larpo_lib.artifacts import Metrics, Work, produce
from larpo_lib.config import TrainConfig
from larpo_lib.errors import LarpoError
from larpo_lib.objectives import OBJECTIVES, bind
from larpo_lib.policies.chat import end_of_turn_id
from larpo_lib.policies.layout import Layout, choose, padded, sharing_ratio
from larpo_lib.policies.load import load_policy, load_tokenizer, model_dtype, stop_token_ids
from larpo_lib.policies.packing import PackedList
from larpo_lib.policies.scoring import attach_scorer
from larpo_lib.tables import read_table
from larpo_lib.training.collator import Collator, TrainingList
from larpo_lib.training.encode import EncodeCounts, EncodedList, encode_lists
from larpo_lib.training.launch import save_policy, train_policy
from larpo_lib.training.reference import cached_logps
from larpo_lib.training.trainer import ListwiseTrainer, MetricLogger


def run(
    config: TrainConfig, *, policy: Path, lists: Path, trained: Path, log: MetricLogger = lambda _row, _step: None
) -> Metrics:
    """Train `policy` on `lists` and publish it as `trained`, a Hugging Face directory with `history.jsonl` beside it.

    Args:
        config: objective and optimiser.
        policy: the behaviour policy, which is also this iteration's reference.
        lists: artifact of `build_lists`.
        trained: artifact to publish.
        log: called with each optimiser step's metrics.
    """

    def make(work: Work) -> Metrics:
        return _train(config, policy, lists, work, log)

    return produce("train", config, {"policy": policy, "lists": lists}, trained, make)


def _train(config: TrainConfig, policy: Path, lists: Path, work: Work, log: MetricLogger) -> Metrics:
    tokenizer = load_tokenizer(policy, config.model)
    rows = read_table(lists, "lists")
    model = load_policy(policy, config.model.model_copy(update={"dtype": "float32"}))
    end_of_turn = end_of_turn_id(tokenizer, stop_token_ids(model, tokenizer))
    encoded, counts = encode_lists(rows, tokenizer, config, end_of_turn)
    if not encoded:
        raise LarpoError(f"{lists}: no list is left to train on: {vars(counts)}", remedy="Raise train.max_tokens")
    objective = OBJECTIVES[config.objective.type]
    pad_id = int(tokenizer.pad_token_id)
    attach_scorer(model, config.logprob_chunk_tokens)
    layout = choose(model, [item.tokens for item in encoded], pad_id)
    dataset = _with_reference(model, encoded, config, layout, pad_id, work.scratch, with_mismatched=objective.needs_kl)
    history = train_policy(
        lambda args, callbacks: ListwiseTrainer(
            model,
            args,
            loss=bind(config.objective),
            needs_kl=objective.needs_kl,
            train_dataset=dataset,
            data_collator=Collator(layout, pad_id),
            callbacks=callbacks,
        ),
        config,
        work.scratch,
        log,
    )
    save_policy(model, tokenizer, history, work.data)
    return summarize(encoded, counts, history)


def summarize(encoded: Sequence[EncodedList], counts: EncodeCounts, history: Sequence[dict[str, float]]) -> Metrics:
    """The metrics of a training run: what went in, what was dropped, and the last tenth of its steps on average."""
    last = history[-max(1, len(history) // 10) :]
    names = sorted({name for row in last for name in row} - {"step", "epoch", "learning_rate"})
    return {
        "lists": len(encoded),
        "responses": sum(len(item.responses) for item in encoded),
        "response_tokens": sum(len(response) for item in encoded for response in item.responses),
        "prompt_sharing_ratio": sharing_ratio([item.tokens for item in encoded]),
        "steps": len(history),
        **vars(counts),
        **{f"final_{name}": sum(row[name] for row in last) / len(last) for name in names},
    }


def _with_reference(
    model: PreTrainedModel,
    encoded: Sequence[EncodedList],
    config: TrainConfig,
    layout: Layout,
    pad_id: int,
    scratch: Path,
    *,
    with_mismatched: bool,
) -> list[TrainingList]:
    settings: dict[str, Any] = {
        "batch_size": config.micro_batch_size,
        "bf16": model_dtype(config.model) is torch.bfloat16,
    }
    own = cached_logps(scratch / "reference.npy", model, [item.tokens for item in encoded], layout, **settings)
    if not with_mismatched:
        return [TrainingList(item, values) for item, values in zip(encoded, own, strict=True)]
    others = [encoded[i - 1].responses[0] for i in range(len(encoded))]
    pairs: list[PackedList] = [(item.prompt, [other]) for item, other in zip(encoded, others, strict=True)]
    kl = cached_logps(scratch / "mismatched.npy", model, pairs, padded(pad_id), **settings)
    return [
        TrainingList(item, values, other, value)
        for item, values, other, [value] in zip(encoded, own, others, kl, strict=True)
    ]
