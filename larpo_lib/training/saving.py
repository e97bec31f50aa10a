"""Checkpoints of a training while it goes on, and what is kept of one that is stopped.

One process writes a checkpoint wherever it is stopped. Several must write it together: they go on to the end of the
step, and what is stopped after the last one is published.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Arguments

from larpo_lib.progress import tell
from larpo_lib.signals import INTERRUPTS
from larpo_lib.training.checkpoints import CheckpointStore
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.state import training_state

_NOT_HISTORY = frozenset({"total_flos", "seconds", "tokens_per_s", "mfu", "memory_gib"})


def history_of(state: TrainerState) -> list[dict[str, float]]:
    """The metrics of every optimiser step, without those that differ from run to run."""
    return [
        {name: value for name, value in row.items() if name not in _NOT_HISTORY}
        for row in state.log_history
        if "loss" in row
    ]


class Saving(TrainerCallback):
    """Writes a checkpoint every `save_steps`, once the step is known to be sound; and of a stop's last whole step.

    Args:
        every: `save_steps`.
        checkpoints: where they go; None on processes that do not lead.
        ranks: the processes.
    """

    def __init__(self, every: int, checkpoints: CheckpointStore | None, ranks: Ranks) -> None:
        self._every = every
        self._checkpoints = checkpoints
        self._ranks = ranks
        self._alone = False
        self._sound: tuple[TrainerState, dict[str, Any]] | None = None
        self._kept = 0

    def on_train_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What is there is from an earlier start."""
        self._kept = state.global_step
        self._alone = self._ranks.world_size == 1 and args.deepspeed is None
        self._ranks.stop.waits = not self._alone

    def on_pre_optimizer_step(
        self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on weights and moments are of no step, until it is logged."""
        self._sound = None

    def on_log(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The step is done."""
        if "loss" not in kwargs["logs"]:
            return
        self._sound = (state, kwargs)
        if state.global_step == state.max_steps:
            return
        if self._ranks.stopped or state.global_step % self._every == 0:
            self._save(state, kwargs)
        if self._ranks.stopped:
            self._ranks.stop.end()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say, of a training that is stopped within the block, what is kept of it; keep all whole steps if possible."""
        try:
            yield
        except INTERRUPTS:
            if self._checkpoints is not None:
                if self._alone and self._sound is not None:
                    state, kwargs = self._sound
                    if self._kept < state.global_step < state.max_steps:
                        self._save(state, kwargs)
                tell(f"train: stopped. Kept up to step {self._kept}; the same command goes on from there")
            raise

    def _save(self, state: TrainerState, kwargs: dict[str, Any]) -> None:
        tensors = training_state(kwargs["model"], kwargs["optimizer"]).tensors()
        if self._checkpoints is None:
            for _ in tensors:  # the leading process needs this one's part of each
                pass
            return
        self._checkpoints.save(state.global_step, tensors, history_of(state), kwargs["lr_scheduler"].state_dict())
        self._kept = state.global_step
