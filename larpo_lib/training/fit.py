"""Runs a trainer so that it can be killed at any instant and goes on from its last whole checkpoint."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from transformers import (
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers import TrainingArguments as Arguments
from transformers.utils import logging as verbosity

from larpo_lib.artifacts import WorkDir
from larpo_lib.config import TrainingConfig
from larpo_lib.models.device import model_dtype, tell_precision
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.packing import PackedList
from larpo_lib.models.published import save_policy
from larpo_lib.progress import progress
from larpo_lib.training.checkpoints import Checkpoint, CheckpointStore
from larpo_lib.training.collator import Collator, OptimizerSteps, TrainingList
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.history import write_history
from larpo_lib.training.kept_adapters import keep_adapters
from larpo_lib.training.merged import merge_trained
from larpo_lib.training.performance import Throughput, flops_per_token, mean_context
from larpo_lib.training.plan import plan_steps
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reach import ZeroGradients, freeze_unreached
from larpo_lib.training.saving import Saving, history_of
from larpo_lib.training.schedule import check_steps_change_weights
from larpo_lib.training.state import training_state
from larpo_lib.training.trainable import check_finite, gathered_parameters, moved_weights, trained_weights
from larpo_lib.training.trainer import PolicyTrainer

MetricLogger = Callable[[Mapping[str, float], int], None]
"""Called with the metrics of an optimiser step and its number."""

CompleteLists = Callable[[], Sequence[TrainingList]]
"""Gives the lists with what is said of them before the first step."""


@dataclass(frozen=True)
class TrainingSession:
    """What all trainings have in common.

    Attributes:
        config: of the step.
        arguments: from `training_arguments`, made before the model.
        ranks: the processes.
        work: the step's folders; None on processes that do not lead.
        log: called with each step's metrics, speed and memory among them; on the leading process.
    """

    config: TrainingConfig
    arguments: Arguments
    ranks: Ranks
    work: WorkDir | None
    log: MetricLogger


@dataclass(frozen=True)
class TrainingResult:
    """A training that has come to its end.

    Attributes:
        trainer: that trained it.
        model: the trained model.
        history: one row of metrics for each optimiser step, those before an interruption included. They are the same
            in every run; speed and memory are not among them.
    """

    trainer: PolicyTrainer
    model: PreTrainedModel
    history: list[dict[str, float]]


@contextmanager
def _verbosity_restored() -> Iterator[None]:
    """A `Trainer` sets how much transformers says, for the whole process."""
    before = verbosity.get_verbosity()
    try:
        yield
    finally:
        verbosity.set_verbosity(before)


@_verbosity_restored()
def fit(
    session: TrainingSession,
    kind: type[PolicyTrainer],
    model: PreTrainedModel,
    options: Mapping[str, Any],
    encoded: Sequence[EncodedList],
    collate: Collator,
    complete: CompleteLists | None = None,
) -> TrainingResult:
    """Train, from the last whole checkpoint if there is one.

    Args:
        session: settings and processes.
        kind: of trainer.
        model: with a scorer attached.
        options: what else that kind is made with, such as its loss.
        encoded: what to train on.
        collate: from lists to the tensors of a forward pass.
        complete: called before the first step, once the model is where it will be trained; None: nothing is missing.
    """
    config, ranks = session.config, session.ranks
    checkpoints = CheckpointStore(session.work, config.checkpoints) if session.work else None
    resume = _Resume(ranks, checkpoints)
    batches = plan_steps(
        len(encoded), batch_size=config.batch_size, epochs=config.epochs, max_steps=config.max_steps, seed=config.seed
    )
    session.arguments.max_steps = len(batches)
    with gathered_parameters(model.parameters()):
        session.arguments.ddp_find_unused_parameters = freeze_unreached(model, told=ranks.is_main)
    if ranks.is_main:
        tell_precision("train", config.model, sum(p.numel() for p in model.parameters()))
        moved = moved_weights(model, config.lora)
        check_steps_change_weights(config, len(batches), moved, model_dtype(config.model))
    lists, left = [TrainingList(item) for item in encoded], batches[resume.done :]
    steps = OptimizerSteps(lists, left, collate, kind.weigh, ranks, config.micro_batch_tokens)
    shown = _StepProgress(show=ranks.is_main)
    trainer = kind(
        model,
        session.arguments,
        **options,
        steps=steps,
        ranks=ranks,
        scratch=session.work.scratch if session.work else None,
        steps_per_epoch=-(-len(encoded) // config.batch_size),
        callbacks=[] if complete is None else [_Complete(steps, complete)],
    )
    logger = _Logger(session, model, trainer, [item.tokens for item in encoded])
    saving = Saving(config.save_steps, checkpoints, ranks)
    for callback in (resume, shown, logger, saving, ZeroGradients()):
        trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    with saving.told(), shown:
        trainer.train()
    return TrainingResult(trainer, model, history_of(trainer.state))


def save_trained(result: TrainingResult, session: TrainingSession, source: ModelDir) -> Mapping[str, float]:
    """Write the trained model as a plain Hugging Face directory, with its history beside it; all processes together.

    Adapters are merged into it; those of a policy are also kept in the folder `adapter`.

    Args:
        result: of the training.
        session: its settings and processes.
        source: the model that was trained; what training does not change is copied from there.

    Returns:
        Metrics of what is published; none on processes that do not lead.

    Raises:
        ModelError: a weight is not a finite number.
    """
    trained, lora = trained_weights(result.trainer), session.config.lora
    if session.work is None:
        return {}
    weights, metrics = (trained, {}) if lora is None else merge_trained(trained, result.model, lora, source)
    check_finite(weights)
    save_policy(result.model, weights, source.tokenizer, source, session.work.data)
    if lora is not None and result.model.can_generate():
        keep_adapters(trained, lora, source.path, session.work.data)
    write_history(session.work.data, result.history)
    return metrics


class _Complete(TrainerCallback):
    """Completes the lists; it comes before `_Resume`, so by the model that is not trained yet."""

    def __init__(self, steps: OptimizerSteps, complete: CompleteLists) -> None:
        self._steps = steps
        self._complete = complete

    def on_train_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._steps.lists = self._complete()


class _Resume(TrainerCallback):
    """Brings a model where the last checkpoint left it, `done` steps on; 0 where there is none."""

    def __init__(self, ranks: Ranks, checkpoints: CheckpointStore | None) -> None:
        self._ranks = ranks
        self._checkpoints = checkpoints
        self._found: Checkpoint | None = checkpoints.latest() if checkpoints else None
        self.done: int
        self.done, self._history = ranks.broadcast((self._found.step, self._found.history) if self._found else (0, []))

    def on_train_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not self.done:
            return

        def read(name: str) -> Any:
            assert self._found is not None, "only the leading process reads"
            return self._found.read(name)

        optimizer, scheduler = kwargs["optimizer"], kwargs["lr_scheduler"]
        training_state(kwargs["model"], optimizer).load(read, self._ranks, self.done)
        if self._checkpoints:
            self._checkpoints.release()
        scheduler.load_state_dict(self._ranks.broadcast(self._found.scheduler if self._found else None))
        for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
        state.global_step = self.done
        state.log_history = list(self._history)


class _Logger(TrainerCallback):
    """Hands on each step's metrics, with how fast it was and how much memory it took."""

    def __init__(
        self, session: TrainingSession, model: PreTrainedModel, trainer: PolicyTrainer, lists: Sequence[PackedList]
    ) -> None:
        self._session = session
        self._trainer = trainer
        flops = flops_per_token(model, mean_context(lists))
        dtype = model_dtype(session.config.model)
        self._throughput = Throughput(flops, session.arguments.device, dtype, session.ranks.world_size)

    def on_step_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._throughput.start()

    def on_log(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, float] = kwargs["logs"]
        rank_batch = self._trainer.rank_batch
        if "loss" not in logs or rank_batch is None:
            return
        figures = self._throughput.stop(rank_batch.tokens, rank_batch.response_tokens)
        if self._session.ranks.is_main:
            self._session.log({**logs, **figures}, state.global_step)


class _StepProgress(TrainerCallback):
    """Shows optimiser steps as they are done."""

    def __init__(self, *, show: bool) -> None:
        self._show = show
        self._shown: Any = None
        self._advance: Callable[[int], None] | None = None

    def on_train_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._show:
            self._shown = progress("train", state.max_steps, state.global_step)
            self._advance = self._shown.__enter__()

    def on_step_end(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._advance:
            self._advance(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: Any) -> None:
        if self._shown is not None:
            self._shown.__exit__(*failure)
