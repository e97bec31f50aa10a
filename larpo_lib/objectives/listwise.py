"""Objectives of whole ranked lists.

All functions map a batch of B lists, ordered best first, to a (B,) loss. Responses with equal rewards never compete: a
response competes with strictly worse ones only, so a list without two different rewards has loss 0 and a zero gradient.
`a`, `b`, `d`, `g` and `n` are a response's log-probability under policy and reference, `a - b`, `beta * d` and its
number of tokens. With two responses contrastive, LambdaRank and ListMLE are DPO.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from larpo_lib.objectives.batch import ListBatch
from larpo_lib.objectives.masked import (
    differences,
    log_ratios,
    ordered_pairs,
    policy_logps,
    present_pairs,
    token_counts,
)


def contrastive(batch: ListBatch, *, beta: float = 0.1) -> Tensor:
    """LarPO's contrastive objective: logsumexp(g_1, g of every worse response) - g_1.

    Source: LarPO (arXiv 2502.03699), Eq. 7. It is ListMLE's first term.
    """
    return _selection_losses(batch, beta)[:, 0]


def listmle(batch: ListBatch, *, beta: float = 0.1, reduction: Literal["sum", "mean"] = "sum") -> Tensor:
    """LarPO's ListMLE: over i, logsumexp(g_i, g of every response worse than i) - g_i.

    `mean` divides by the number of responses that have a worse one.

    Source: LarPO (arXiv 2502.03699), Eq. 11; ListMLE itself is Xia et al. 2008.
    """
    return _reduce(_selection_losses(batch, beta), ordered_pairs(batch).any(dim=2), reduction)


def lambdarank(
    batch: ListBatch, *, beta: float = 0.1, top: int | None = None, reduction: Literal["sum", "mean"] = "sum"
) -> Tensor:
    """LarPO's LambdaRank: over pairs of a better i and a worse j, softplus(-(g_i - g_j)), without delta-NDCG weights.

    With `top` only pairs of one of the first `top` responses and one of the others count. `mean` divides by the number
    of pairs.

    Source: LarPO (arXiv 2502.03699), Eq. 9.
    """
    pairs = ordered_pairs(batch)
    if top is not None:
        first = torch.arange(batch.mask.shape[1], device=pairs.device) < top
        pairs = pairs & first.unsqueeze(1) & ~first.unsqueeze(0)
    return _reduce(_pair_losses(beta * log_ratios(batch)), pairs, reduction)


def lipo_lambda(
    batch: ListBatch,
    *,
    beta: float = 0.1,
    reduction: Literal["sum", "mean"] = "sum",
    rewards: Literal["raw", "minmax", "win_rate"] = "raw",
) -> Tensor:
    """LiPO-lambda: LambdaRank's pairs weighted by |2^psi_i - 2^psi_j| * |1 / ln(1 + tau_i) - 1 / ln(1 + tau_j)|.

    psi are numbers from 0 to 1, the paper's are win probabilities: the weights of rewards without bounds have none
    either. `raw`: the rewards themselves. `minmax`: where they lie between the list's lowest and highest one.
    `win_rate`: the share of the list's other responses with a lower reward, equal ones counting one half. tau is a
    response's rank, from 1, by its current g. Equal g rank by reward: were they given one rank, all weights would be 0
    when the policy is still the reference, and training could not start. Ranks are counts: no gradient passes through
    weights.

    Source: Liu et al. 2024 (arXiv 2402.01878).
    """
    scores = beta * log_ratios(batch)
    pairs = ordered_pairs(batch)
    weights = _lambda_weights(scores, pairs, batch, _gains(batch, rewards).to(torch.float64))
    return _reduce(weights * _pair_losses(scores), pairs, reduction)


def rrhf(batch: ListBatch, *, sft_weight: float = 1.0) -> Tensor:
    """RRHF: over pairs of a better i and a worse j, max(0, a_j / n_j - a_i / n_i); minus sft_weight * a_1.

    Reads no reference. Source: Yuan et al. 2023 (arXiv 2304.05302).
    """
    logps = policy_logps(batch)
    pairs = ordered_pairs(batch)
    hinges = torch.relu(-differences(logps / token_counts(batch)))
    loss = _reduce(hinges, pairs, "sum") - sft_weight * logps[:, 0]
    return torch.where(pairs.flatten(1).any(dim=1), loss, 0.0)


def _selection_losses(batch: ListBatch, beta: float) -> Tensor:
    """(B, L): -log of the probability to pick response i among itself and the strictly worse ones."""
    competitors = ordered_pairs(batch) | torch.eye(batch.mask.shape[1], dtype=torch.bool, device=batch.mask.device)
    margins = -differences(beta * log_ratios(batch))
    return margins.masked_fill(~competitors, -torch.inf).logsumexp(dim=2)


def _pair_losses(scores: Tensor) -> Tensor:
    """(B, L, L): softplus(-(scores_i - scores_j))."""
    return -logsigmoid(differences(scores))


def _gains(batch: ListBatch, rewards: Literal["raw", "minmax", "win_rate"]) -> Tensor:
    """(B, L) psi of `lipo_lambda`, in the precision of the rewards; 0 where no response is present."""
    if rewards == "win_rate":
        pairs = present_pairs(batch)
        beaten = (pairs & (differences(batch.rewards) > 0)).sum(2) + (pairs & (differences(batch.rewards) == 0)).sum(
            2
        ) / 2
        others = (batch.mask.sum(1, keepdim=True) - 1).clamp(min=1)
        return ((beaten - 0.5) / others).masked_fill(~batch.mask, 0.0)  # nobody is another response to itself
    plain = batch.rewards.masked_fill(~batch.mask, 0.0)
    if rewards == "raw":
        return plain
    highest = batch.rewards.masked_fill(~batch.mask, -torch.inf).amax(1, keepdim=True)
    lowest = batch.rewards.masked_fill(~batch.mask, torch.inf).amin(1, keepdim=True)
    spread = highest - lowest
    return ((batch.rewards - lowest) / spread.where(spread > 0, 1.0)).masked_fill(~batch.mask, 0.0)


def _lambda_weights(scores: Tensor, pairs: Tensor, batch: ListBatch, gains: Tensor) -> Tensor:
    """(B, L, L): by how much swapping i and j would change the DCG of the list sorted by `scores`, with gains 2^psi."""
    margin = differences(scores)
    ahead = (present_pairs(batch) & (margin > 0)) | (pairs & (margin == 0))
    discounts = 1 / torch.log(2.0 + ahead.sum(dim=1).to(scores.dtype))
    return differences(torch.exp2(gains)).abs().to(scores.dtype) * differences(discounts).abs()


def _reduce(terms: Tensor, counted: Tensor, reduction: Literal["sum", "mean"]) -> Tensor:
    """(B, ...) terms to the (B,) sum or mean of those that are counted; 0 where none is."""
    total = torch.where(counted, terms, 0.0).flatten(1).sum(dim=1)
    if reduction == "sum":
        return total
    return total / counted.flatten(1).sum(dim=1).clamp(min=1)
