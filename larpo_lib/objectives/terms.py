"""What losses of whole lists are put together from."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from larpo_lib.objectives.masked import differences


def pair_losses(scores: Tensor) -> Tensor:
    """(B, L, L): softplus(-(scores_i - scores_j))."""
    return -logsigmoid(differences(scores))


def reduce_terms(terms: Tensor, counted: Tensor, reduction: Literal["sum", "mean"]) -> Tensor:
    """(B, ...) terms to the (B,) sum or mean of those that are counted; 0 where none is."""
    total = torch.where(counted, terms, 0.0).flatten(1).sum(dim=1)
    if reduction == "sum":
        return total
    return total / counted.flatten(1).sum(dim=1).clamp(min=1)
