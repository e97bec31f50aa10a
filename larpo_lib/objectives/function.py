"""A user's own function as an objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from larpo_lib.config.kinds import SingleObjectiveConfig
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.functions import CallError, FunctionTarget, call
from larpo_lib.objectives._entry import DeclaredConfig, settings_of
from larpo_lib.objectives._torch import torch
from larpo_lib.objectives.batch import ListBatch

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.targets import Loaded


class FunctionObjectiveConfig(FunctionTarget, SingleObjectiveConfig):
    """A Python function of your own: from a `ListBatch` of B lists to a (B,) loss.

    Its arguments after the batch are its settings. What it needs it says by the decorator
    `larpo_lib.objectives.objective`; without it, it reads `reference_logps`, but not `kl_baseline`.
    """

    does: ClassVar[str] = "what a Python function of yours says"
    when: ClassVar[str] = "you have a loss of your own"

    first: ClassVar[tuple[str, ...]] = ("type",)

    type: Literal["function"] = "function"

    @property
    def needs_reference(self) -> bool:
        """As the function says; of a finished run its file is not needed."""
        try:
            self.source()
        except ConfigError:
            return True  # `check` tells it before anything is made
        return self._chosen_settings(self.loaded()).needs_reference

    @property
    def needs_kl(self) -> bool:  # type: ignore[override]
        """As the function says."""
        return self._chosen_settings(self.loaded()).needs_kl

    @property
    def raw_gains(self) -> str | None:
        """As the function says."""
        place = self._chosen_settings(self.loaded()).raw_gains
        return None if place is None else f"settings.{place}"

    @property
    def in_words(self) -> str:
        """The function."""
        return self.identity()["target"]  # type: ignore[no-any-return]

    def loss(self, batch: ListBatch) -> Tensor:
        """The loss of each list; `make` loads the function once for many batches."""
        return self.make()(batch)

    def make(self) -> Callable[[ListBatch], Tensor]:
        """The function with its settings. What it gives is checked.

        Raises:
            ConfigError: it cannot be loaded, or not with these settings.
        """
        loaded = self.loaded()
        chosen = self._chosen_settings(loaded)
        return partial(chosen.loss_around, partial(_loss, replace(loaded, function=chosen.loss_itself)))

    def check(self) -> None:
        """That it gives a loss with a gradient for a small batch of lists, which each option changes."""
        logps = torch.tensor([[-3.0, -5.0, -4.0], [-2.0, -6.0, 0.0]], requires_grad=True)
        mask = torch.tensor([[True, True, True], [True, True, False]])
        rewards = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
        reference = torch.tensor([[-3.5, -5.25, -5.5], [-2.75, -6.5, 0.0]])
        tokens = torch.tensor([[4, 5, 3], [6, 4, 1]])
        batch = ListBatch(logps, reference, tokens, rewards, mask, torch.tensor(0.1), progress=0.5)
        loss = self.make()(batch)
        if not loss.requires_grad:
            raise LarpoError(f"{self.in_words} gives a loss without a gradient", remedy="Compute it with torch")
        for option in self._chosen_settings(self.loaded()).used_options:
            others = {name: value for name, value in self.settings.items() if name != option}
            if "margin" not in others:
                others.pop("rewards", None)
            if self.model_copy(update={"settings": others}).loss(batch).equal(loss):
                remedy = f"Remove {option}, or read the batch as larpo_lib.objectives.masked does"
                raise LarpoError(f"{option} changes nothing in {self.in_words}", remedy=remedy)

    def _chosen_settings(self, loaded: Loaded) -> DeclaredConfig:
        try:
            made = settings_of(loaded.function)
        except Exception as error:  # of a signature that settings cannot be made of: of any type
            raise ConfigError(
                f"{loaded.file}: the arguments of '{loaded.shown}' cannot be settings: {error}",
                remedy="Write it like def hinge(batch, *, margin: float = 1.0)",
            ) from None
        try:
            return check(made, self.settings)
        except ConfigError as error:
            remedy = error.remedy if error.remedy.startswith("Did you mean") else "Change settings"
            raise ConfigError(f"{loaded.shown}: {error.problem}", remedy=remedy) from None


def _loss(loaded: Loaded, batch: ListBatch) -> Tensor:
    try:
        given = call(loaded, {"batch": batch})
    except CallError as error:
        raise LarpoError(f"{loaded.shown} {error}", remedy="Fix the function") from error.__cause__
    lists = batch.mask.shape[0]
    if not isinstance(given, torch.Tensor):
        wrong = type(given).__name__
    elif given.shape != (lists,):
        wrong = f"a tensor of shape {tuple(given.shape)}"
    elif given.dtype not in (torch.float32, torch.float64):
        wrong = f"a tensor of {given.dtype}"
    else:
        return given
    raise LarpoError(
        f"{loaded.shown} gave {wrong}, not one loss for each of {lists} lists: a tensor of shape ({lists},), float32 or"
        " float64",
        remedy="Fix the function",
    )
