"""Several objectives as one: the weighted sum of their losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, model_validator

from larpo_lib.config.base import Section
from larpo_lib.config.kinds import ObjectiveConfig, SingleObjectiveConfig
from larpo_lib.objectives._options import OPTIONS
from larpo_lib.objectives._torch import torch

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch


class MixturePart(Section):
    """One objective of a mixture."""

    objective: SingleObjectiveConfig
    """The objective of this part, with settings and options of its own."""
    weight: PositiveFloat = 1.0
    """Weight of its loss in the sum."""


class MixtureConfig(ObjectiveConfig):
    """A weighted sum of the losses of several objectives."""

    does: ClassVar[str] = "a weighted sum of several"
    when: ClassVar[str] = "no single one does all that you want"

    type: Literal["mixture"] = "mixture"
    parts: tuple[MixturePart, ...] = Field(min_length=2)
    """The objectives of the mixture, at least two."""

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, values: Any) -> Any:
        for option in OPTIONS if isinstance(values, dict) else ():
            if option in values:
                raise ValueError(f"a mixture has no {option} of its own; set it in the objective of a part")
        return values

    @property
    def needs_reference(self) -> bool:
        """Whether one of them does."""
        return any(part.objective.needs_reference for part in self.parts)

    @property
    def needs_kl(self) -> bool:  # type: ignore[override]
        """Whether one of them does."""
        return any(part.objective.needs_kl for part in self.parts)

    @property
    def raw_gains(self) -> str | None:
        """The first one among them."""
        found = ((number, part.objective.raw_gains) for number, part in enumerate(self.parts))
        return next((f"parts[{number}].objective.{place}" for number, place in found if place is not None), None)

    @property
    def in_words(self) -> str:
        """The parts with their weights."""
        return " + ".join(f"{part.weight:g} {part.objective.in_words}" for part in self.parts)

    def check(self) -> None:
        """Each part."""
        for part in self.parts:
            part.objective.check()

    def exponents(self, batch: ListBatch) -> Tensor | None:
        """The (P, B, L) scores of the P parts that have any; None: of none."""
        found = [part.objective.exponents(batch) for part in self.parts]
        known = [scores for scores in found if scores is not None]
        return torch.stack(known) if known else None

    def loss(self, batch: ListBatch) -> Tensor:
        """The sum for each list, (B,)."""
        return self.make()(batch)

    def make(self) -> Callable[[ListBatch], Tensor]:
        """The parts are made once for many batches."""
        return partial(_sum, [(part.weight, part.objective.make()) for part in self.parts])


def _sum(parts: Sequence[tuple[float, Callable[[ListBatch], Tensor]]], batch: ListBatch) -> Tensor:
    (weight, loss), *others = parts
    total = weight * loss(batch)
    for weight, loss in others:
        total = total + weight * loss(batch)
    return total
