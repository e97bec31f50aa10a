"""What objectives read of rewards beyond their order: as they are, or on a scale that all lists share.

All scales keep the order of a list's rewards. A list without two different rewards has no loss, on whatever scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from larpo_lib.errors import LarpoError
from larpo_lib.objectives._torch import torch
from larpo_lib.objectives.masked import differences, present_pairs

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch

Scale = Literal["raw", "minmax", "zscore", "rank", "win_rate"]
_MINMAX = "minmax: rewards scaled so that the list's lowest is 0 and its highest 1"
_RANK = "rank: the fraction of the list's other responses with a lower reward, where an equal reward counts one half"
Rewards = Annotated[
    Literal["raw", "minmax", "zscore", "rank"],
    Field(
        description=f"scale of the rewards; raw: as they are; {_MINMAX}; zscore: (reward - mean of the list) / "
        f"standard deviation of the list; {_RANK}"
    ),
]
UnitRewards = Annotated[
    Literal["raw", "minmax", "rank", "win_rate"],
    Field(
        description="scale of the rewards, before gains and weights are computed; raw: as they are, which must be from "
        f"0 to 1; {_MINMAX}; {_RANK}; win_rate: the former name of rank"
    ),
]

ROUNDING = 1e-9
"""What weighted sums may lie beyond 1."""

_SAME = 1e-6
"""A standard deviation that z-scores do not divide by, as in TPO."""


def reward_values(batch: ListBatch, rewards: Scale) -> Tensor:
    """(B, L) rewards on a scale, in float64, in which close ones are still apart; 0 where no response is present."""
    values = batch.rewards.to(torch.float64).masked_fill(~batch.mask, 0.0)
    scaled = {"minmax": _minmax, "zscore": _zscores, "rank": _ranks, "win_rate": _ranks}.get(rewards)
    return values if scaled is None else scaled(values, batch).masked_fill(~batch.mask, 0.0)


def unit_values(batch: ListBatch, rewards: Scale) -> Tensor:
    """As `reward_values`, for losses that use powers of two of them.

    Raises:
        LarpoError: one is below 0 or above 1. A single list with large rewards would decide the batch's gradient.
    """
    values = reward_values(batch, rewards)
    outside = (values < -ROUNDING) | (values > 1 + ROUNDING)
    if outside.any():
        number = int(outside.any(dim=1).nonzero()[0])
        raise LarpoError(
            f"list {number} of a batch has a response with the reward {float(values[outside][0]):.12g}, but the loss "
            "uses 2^reward and needs rewards from 0 to 1",
            remedy="Set rewards to minmax or rank",
        )
    return values


def _minmax(values: Tensor, batch: ListBatch) -> Tensor:
    lowest = values.masked_fill(~batch.mask, torch.inf).amin(dim=1, keepdim=True)
    spread = values.masked_fill(~batch.mask, -torch.inf).amax(dim=1, keepdim=True) - lowest
    return (values - lowest) / spread.where(spread > 0, 1.0)


def _zscores(values: Tensor, batch: ListBatch) -> Tensor:
    present = batch.mask.sum(dim=1, keepdim=True).clamp(min=1)
    centred = (values - values.sum(dim=1, keepdim=True) / present).masked_fill(~batch.mask, 0.0)
    deviation = (centred.square().sum(dim=1, keepdim=True) / present).sqrt()
    return centred / deviation.where(deviation > _SAME, 1.0)


def _ranks(values: Tensor, batch: ListBatch) -> Tensor:
    pairs = present_pairs(batch)
    leads = differences(values)
    twice_beaten = 2 * (pairs & (leads > 0)).sum(2) + (pairs & (leads == 0)).sum(2) - 1  # nobody equals itself
    others = (batch.mask.sum(1, keepdim=True) - 1).clamp(min=1)
    return twice_beaten.to(torch.float64) / (2 * others)
