"""What losses of whole lists are put together from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from larpo_lib.objectives._torch import logsigmoid, torch
from larpo_lib.objectives.masked import differences, ordered_pairs

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch


def pair_losses(scores: Tensor) -> Tensor:
    """(B, L, L): softplus(-(scores_i - scores_j))."""
    return -logsigmoid(differences(scores))


def reduce_terms(terms: Tensor, counted: Tensor, reduction: Literal["sum", "mean"]) -> Tensor:
    """(B, ...) terms to the (B,) sum or mean of those that are counted; 0 where none is."""
    total = torch.where(counted, terms, 0.0).flatten(1).sum(dim=1)
    if reduction == "sum":
        return total
    return total / counted.flatten(1).sum(dim=1).clamp(min=1)


def where_decided(losses: Tensor, batch: ListBatch) -> Tensor:
    """(B,) losses of lists, or sums of (B, L) terms; 0 where no response of a list is better than another."""
    decided = ordered_pairs(batch).flatten(1).any(dim=1)
    total = losses if losses.dim() == 1 else losses.masked_fill(~batch.mask, 0.0).sum(dim=1)
    return torch.where(decided, total, 0.0)
