"""Encoded lists of random tokens for the trainer's tests, and a run of it."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from step_doubles import Killed
from transformers import AutoModelForCausalLM

from larpo_lib.artifacts import WorkDir
from larpo_lib.config import ModelConfig, SftConfig, TrainConfig, TrainingConfig
from larpo_lib.models.layout import Layout, padded_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.packing import PackedList
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.objectives.listwise import listmle
from larpo_lib.objectives.pairwise import simpo
from larpo_lib.objectives.pointwise import kto
from larpo_lib.training.arguments import training_arguments
from larpo_lib.training.collator import Collator, TrainingList
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.fit import MetricLogger, TrainingResult, TrainingSession, fit, save_trained
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reference import reference_logps
from larpo_lib.training.trainable import load_trainable
from larpo_lib.training.trainer import PreferenceTrainer, SftTrainer

PAD = 0
PLAIN = ModelConfig(device="cpu")
SETTINGS: dict[str, Any] = {
    "model": PLAIN,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "epochs": 2,
    "batch_size": 4,
    "micro_batch_tokens": 1000,
    "max_prompt_tokens": 32,
    "max_tokens": 64,
    "logprob_chunk_tokens": 16,
}
OBJECTIVE_CONFIGS = {
    "listmle": listmle.settings(),
    "kto": kto.settings(),
    "simpo": simpo.settings(),
    "listmle of a growing top": listmle.settings.model_validate({"top": 1, "top_at_end": 3}),
}


def kill_at(last: int) -> MetricLogger:
    """A logger that ends the process when it hears of step `last`."""

    def log(_row: object, step: int) -> None:
        if step == last:
            raise Killed

    return log


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


def with_reference(policy: Path, lists: Sequence[EncodedList]) -> list[TrainingList]:
    """The lists with reference log-probabilities, the next list's best response being the mismatched one.

    They are moved a little, so that the objective is not at its symmetric starting point, and KTO's baseline not at 0.
    """
    model = attach_scorer(ModelDir(policy, PLAIN).load_policy(), 64)
    rng = random.Random(1)

    def logps(packed: list[PackedList]) -> list[float]:
        scored = reference_logps(model, packed, padded_layout(PAD), [[i] for i in range(len(packed))], Ranks())
        return [value + rng.uniform(-3, 1) for value in scored]

    others = [lists[i - 1].responses[0] for i in range(len(lists))]
    kl = logps([(item.prompt, [other]) for item, other in zip(lists, others, strict=True)])
    return [
        TrainingList(item, logps([item.tokens]), other, value)
        for item, other, value in zip(lists, others, kl, strict=True)
    ]


def train(
    policy: Path,
    lists: Sequence[TrainingList],
    scratch: Path,
    objective: str,
    log: MetricLogger = lambda _row, _step: None,
    layout: Callable[[int], Layout] = padded_layout,
    **changes: Any,
) -> TrainingResult:
    """Train with an objective."""
    config = TrainConfig(**SETTINGS | {"objective": OBJECTIVE_CONFIGS[objective]} | changes)
    needs = config.objective
    if not needs.needs_kl:
        lists = [TrainingList(item.encoded, item.reference_logps) for item in lists]
    options = {"loss": config.objective.loss, "needs_reference": needs.needs_reference, "needs_kl": needs.needs_kl}
    collate = Collator(layout(PAD), PAD)
    return _fit(config, scratch, log, policy, (PreferenceTrainer, options), lists, collate)


def finetune(policy: Path, lists: Sequence[EncodedList], scratch: Path, **changes: Any) -> TrainingResult:
    """Supervised fine-tuning on lists of one response."""
    config = SftConfig(**SETTINGS | changes)
    demonstrations = [TrainingList(item, [0.0]) for item in lists]
    collate = Collator(padded_layout(PAD), PAD)
    return _fit(config, scratch, lambda _row, _step: None, policy, (SftTrainer, {}), demonstrations, collate)


def publish(fitted: TrainingResult, policy: Path, scratch: Path, **changes: Any) -> Path:
    """Save a model as the steps do that trained it in `scratch`; returns its directory."""
    config = TrainConfig(**SETTINGS | changes)
    session = TrainingSession(config, fitted.trainer.args, Ranks(), _work(scratch), lambda _row, _step: None)
    save_trained(fitted, session, ModelDir(policy, PLAIN))
    return scratch / "data"


def _work(scratch: Path) -> WorkDir:
    return WorkDir(scratch / "data", scratch, "0" * 64)


def _fit(
    config: TrainingConfig,
    scratch: Path,
    log: MetricLogger,
    policy: Path,
    kind: tuple[Any, dict[str, Any]],
    lists: Sequence[TrainingList],
    collate: Collator,
) -> TrainingResult:
    session = TrainingSession(config, training_arguments(config), Ranks(), _work(scratch), log)
    model = attach_scorer(
        load_trainable(AutoModelForCausalLM, ModelDir(policy, config.model), config), config.logprob_chunk_tokens
    )
    scratch.mkdir(parents=True, exist_ok=True)
    return fit(session, kind[0], model, kind[1], [item.encoded for item in lists], collate, lambda: lists)
