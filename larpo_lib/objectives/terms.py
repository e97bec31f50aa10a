"""What losses of whole lists are put together from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from larpo_lib.objectives._torch import logsigmoid, torch
from larpo_lib.objectives.masked import differences

if TYPE_CHECKING:
    from torch import Tensor


def pair_losses(scores: Tensor) -> Tensor:
    """(B, L, L): softplus(-(scores_i - scores_j))."""
    return -logsigmoid(differences(scores))


def reduce_terms(terms: Tensor, counted: Tensor, reduction: Literal["sum", "mean"]) -> Tensor:
    """(B, ...) terms to the (B,) sum or mean of those that are counted; 0 where none is."""
    total = torch.where(counted, terms, 0.0).flatten(1).sum(dim=1)
    if reduction == "sum":
        return total
    return total / counted.flatten(1).sum(dim=1).clamp(min=1)
