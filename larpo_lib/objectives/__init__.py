"""The objectives of preference optimisation: pure functions from a batch of ranked lists to a loss per list.

A module here holds some, each made an objective by `@objective`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from larpo_lib.config.kinds import ObjectiveConfig
from larpo_lib.objectives._entry import Objective, objective
from larpo_lib.objectives.batch import ListBatch

if TYPE_CHECKING:
    from torch import Tensor


def bind(config: ObjectiveConfig) -> Callable[[ListBatch], Tensor]:
    """The loss of some settings: a ListBatch of B lists to a (B,) loss."""
    return config.loss


__all__ = ["ListBatch", "Objective", "bind", "objective"]
