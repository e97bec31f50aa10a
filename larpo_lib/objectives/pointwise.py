"""Objectives of single responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveFloat

from larpo_lib.objectives._arguments import Beta
from larpo_lib.objectives._entry import objective
from larpo_lib.objectives._torch import torch
from larpo_lib.objectives.masked import log_ratios

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch


@objective(
    does="treats each response on its own: raises the best ones, lowers all others",
    when="there are no natural pairs",
    needs_kl=True,
    logistic=(),
    refuses={
        "margin": "it looks at each response by itself, and has no order",
        "label_smoothing": "it looks at each response by itself, and has no order",
        "label_noise": "it looks at each response by itself, and has no order",
        "rho": "it looks at each response by itself, and has no order",
    },
)
def kto(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    desirable_weight: Annotated[
        PositiveFloat, Field(description="Weight of the responses with the list's best reward.")
    ] = 1.0,
    undesirable_weight: Annotated[PositiveFloat, Field(description="Weight of all other responses.")] = 1.0,
) -> Tensor:
    """KTO: the mean over a list's responses of weight * (1 - sigmoid(beta (d - z0))), or of (z0 - d) if undesirable.

    Responses with the list's best reward are desirable, all others undesirable. d is the log-ratio of policy and
    reference, z0 the batch's `kl_baseline`, at least 0 and without gradient.

    Returns:
        (B,) loss per list; 0 for a list without responses.

    Source: Ethayarajh et al. 2024 (arXiv 2402.01306), Eq. 7.
    """
    assert batch.kl_baseline is not None, "KTO reads kl_baseline"
    ratios = log_ratios(batch)
    margin = beta * (ratios - batch.kl_baseline.detach().to(ratios.dtype).clamp(min=0))
    # sigmoid(-x) is 1 - sigmoid(x) without the cancellation for large x.
    losses = torch.where(
        batch.rewards == batch.rewards[:, :1],
        desirable_weight * torch.sigmoid(-margin),
        undesirable_weight * torch.sigmoid(margin),
    )
    return losses.masked_fill(~batch.mask, 0.0).sum(dim=1) / batch.mask.sum(dim=1).clamp(min=1)
