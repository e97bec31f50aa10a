"""Encoded lists of random tokens for the trainer's tests, and a run of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from larpo_lib.config import ModelConfig, SftConfig, TrainConfig
from larpo_lib.config.objectives import KtoConfig, ListMleConfig
from larpo_lib.objectives import OBJECTIVES, bind
from larpo_lib.policies.layout import padded
from larpo_lib.policies.load import load_policy
from larpo_lib.policies.scoring import attach_scorer
from larpo_lib.training.collator import Collator, TrainingList
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.launch import train_policy
from larpo_lib.training.reference import reference_logps
from larpo_lib.training.trainer import ListwiseTrainer, SftTrainer

PAD = 0
PLAIN = ModelConfig(device="cpu")
SETTINGS: dict[str, Any] = {
    "model": PLAIN,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "epochs": 2,
    "batch_size": 4,
    "micro_batch_size": 4,
    "max_prompt_tokens": 32,
    "max_tokens": 64,
    "logprob_chunk_tokens": 16,
}
OBJECTIVE_CONFIGS = {"listmle": ListMleConfig(), "kto": KtoConfig()}


def random_lists(count: int, *, sizes: Sequence[int] = (2, 3, 4), seed: int = 0) -> list[EncodedList]:
    """Lists of several sizes, of responses of several lengths, with falling rewards."""
    rng = random.Random(seed)

    def tokens(shortest: int, longest: int) -> list[int]:
        return [rng.randint(5, 50) for _ in range(rng.randint(shortest, longest))]

    return [
        EncodedList(
            f"p{i}",
            tokens(1, 6),
            [tokens(1, 8) for _ in range(sizes[i % len(sizes)])],
            [float(-j) for j in range(sizes[i % len(sizes)])],
        )
        for i in range(count)
    ]


def _scored(model: Any, pairs: list[tuple[list[int], list[int]]]) -> list[float]:
    lists = [(prompt, [response]) for prompt, response in pairs]
    return reference_logps(model, lists, padded(PAD), batch_size=8, bf16=False).tolist()


def with_reference(policy: Path, lists: Sequence[EncodedList]) -> list[TrainingList]:
    """The lists with reference log-probabilities, the next list's best response being the mismatched one.

    They are moved a little, so that the objective is not at its symmetric starting point, and KTO's baseline not at 0.
    """
    model = attach_scorer(load_policy(policy, PLAIN), 64)
    rng = random.Random(1)

    def logps(pairs: list[tuple[list[int], list[int]]]) -> list[float]:
        return [value + rng.uniform(-3, 1) for value in _scored(model, pairs)]

    others = [lists[i - 1].responses[0] for i in range(len(lists))]
    kl = logps([(item.prompt, other) for item, other in zip(lists, others, strict=True)])
    return [
        TrainingList(item, logps([(item.prompt, response) for response in item.responses]), other, value)
        for item, other, value in zip(lists, others, kl, strict=True)
    ]


def train(
    policy: Path, lists: Sequence[TrainingList], scratch: Path, objective: str, log: Any = None, **changes: Any
) -> tuple[Any, list[dict[str, float]]]:
    """Train with an objective; returns the policy and its history."""
    config = TrainConfig(**SETTINGS | {"objective": OBJECTIVE_CONFIGS[objective]} | changes)
    model = attach_scorer(load_policy(policy, PLAIN), config.logprob_chunk_tokens)
    needs_kl = OBJECTIVES[objective].needs_kl
    if not needs_kl:
        lists = [TrainingList(item.encoded, item.reference_logps) for item in lists]
    history = train_policy(
        lambda args, callbacks: ListwiseTrainer(
            model,
            args,
            loss=bind(config.objective),
            needs_kl=needs_kl,
            train_dataset=lists,
            data_collator=Collator(padded(PAD), PAD),
            callbacks=callbacks,
        ),
        config,
        scratch,
        log or (lambda _row, _step: None),
    )
    return model, history


def finetune(
    policy: Path, lists: Sequence[EncodedList], scratch: Path, **changes: Any
) -> tuple[Any, list[dict[str, float]]]:
    """Supervised fine-tuning on lists of one response; returns the policy and its history."""
    config = SftConfig(**SETTINGS | changes)
    model = attach_scorer(load_policy(policy, PLAIN), config.logprob_chunk_tokens)
    history = train_policy(
        lambda args, callbacks: SftTrainer(
            model,
            args,
            train_dataset=[TrainingList(item, [0.0]) for item in lists],
            data_collator=Collator(padded(PAD), PAD),
            callbacks=callbacks,
        ),
        config,
        scratch,
        lambda _row, _step: None,
    )
    return model, history
