"""Losses of many lists a few lists at a time, so that what they compute for pairs of responses fits into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from larpo_lib.objectives._torch import torch

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch

_PAIRS = 1 << 20  # 4 MiB a tensor in float32


def in_chunks(loss: Callable[[ListBatch], Tensor], batch: ListBatch) -> Tensor:
    """The (B,) loss of each list. What is computed on the way exists for about 1,048,576 pairs of responses at a time.

    Of a batch with more of them, the lists' losses are computed part by part, and again in the backward pass. Values
    and gradients are the same, for a list's loss does not depend on the lists beside it.
    """
    lists, longest = batch.mask.shape
    size = max(1, _PAIRS // max(1, longest**2))
    if lists <= size:
        return loss(batch)
    from torch.utils.checkpoint import checkpoint

    return torch.cat(
        [checkpoint(loss, _part(batch, slice(i, i + size)), use_reentrant=False) for i in range(0, lists, size)]
    )


def _part(batch: ListBatch, lists: slice) -> ListBatch:
    return replace(
        batch,
        policy_logps=batch.policy_logps[lists],
        reference_logps=batch.reference_logps[lists],
        lengths=batch.lengths[lists],
        rewards=batch.rewards[lists],
        mask=batch.mask[lists],
    )
