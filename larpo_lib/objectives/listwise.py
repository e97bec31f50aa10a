"""Objectives of whole ranked lists.

All functions map a batch of B lists, ordered best first, to a (B,) loss. Responses with equal rewards never compete: a
response competes with strictly worse ones only, so a list without two different rewards has loss 0 and a zero gradient.
`a`, `b`, `d`, `g` and `n` are a response's log-probability under policy and reference, `a - b`, `beta * d` and its
number of tokens. With two responses contrastive, LambdaRank and ListMLE are DPO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from larpo_lib.objectives._arguments import Beta, ClipReference, Reduction, SftWeight
from larpo_lib.objectives._entry import objective
from larpo_lib.objectives._torch import logsigmoid, torch
from larpo_lib.objectives.masked import (
    differences,
    log_ratios,
    ordered_pairs,
    policy_logps,
    present_pairs,
    reference_logps,
    token_counts,
)
from larpo_lib.objectives.reward_values import Rewards, reward_values
from larpo_lib.objectives.terms import pair_losses, reduce_terms, where_decided

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch


@objective(
    does="makes the best response more likely than all others together",
    when="there is one clear winner and many losers; use it with `top_bottom` 1 and 3",
)
def contrastive(batch: ListBatch, *, beta: Beta = 0.1) -> Tensor:
    """LarPO's contrastive objective: logsumexp(g_1, g of every worse response) - g_1.

    Source: LarPO (arXiv 2502.03699), Eq. 7. It is ListMLE's first term.
    """
    return _selection_losses(batch, beta)[:, 0]


@objective(
    does="ranks every response before all worse ones",
    when="lists have three or more responses; the default",
    younger=("top_at_end",),
)
def listmle(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    top: Annotated[
        PositiveInt | None,
        Field(
            description="rank only the first `top` responses of a list against the worse ones; 1 is `contrastive`. "
            "A list with fewer responses counts whole"
        ),
    ] = None,
    top_at_end: Annotated[
        PositiveInt | Literal["all"] | None,
        Field(
            description="let `top` (not set: all) become this number during a training, by one after equal numbers of "
            "steps; all: one less than the list has responses"
        ),
    ] = None,
    reduction: Reduction = "sum",
) -> Tensor:
    """LarPO's ListMLE: over i, logsumexp(g_i, g of every response worse than i) - g_i.

    With `top` only the first `top` responses are picked: 1 is `contrastive`. With `top_at_end` their number changes by
    one after equal shares of the batch's `progress`. `mean` divides by the number of terms: one for each response that
    has a worse one.

    Source: LarPO (arXiv 2502.03699), Eq. 11; ListMLE itself is Xia et al. 2008, with `top` Xia et al. 2009.
    """
    picked = ordered_pairs(batch).any(dim=2)
    allowed = top if top_at_end is None else _scheduled(top, top_at_end, batch)
    if allowed is not None:
        picked = picked & (torch.arange(batch.mask.shape[1], device=picked.device) < allowed)
    return reduce_terms(_selection_losses(batch, beta), picked, reduction)


@objective(
    does="ListMLE with some weight on the least likely order",
    when="the reranker makes mistakes",
    refuses={
        "margin": "its worst order would keep the margins of the given one; use listmle with rho",
    },
)
def robust_listmle(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    rho: Annotated[
        float,
        Field(ge=0.0, lt=0.5, description="weight of the order that is worst for the current policy; 0 is `listmle`"),
    ] = 0.1,
) -> Tensor:
    """Robust ListMLE: (1 - rho) ListMLE of the given order + rho ListMLE of the worst order for the policy as it is.

    The worst order is that of rising g; of equal g the worse response comes first. No gradient passes through it. With
    two responses this is DPO with label smoothing rho while the policy orders them rightly, and DPO while it does not.

    Source: robust Plackett-Luce (arXiv 2607.01715).
    """
    scores = log_ratios(batch).detach()
    rewards = differences(batch.rewards)
    rising = -differences(scores)
    ahead = present_pairs(batch) & (rewards != 0) & ((rising > 0) | ((rising == 0) & (rewards < 0)))
    given = _selection_losses(batch, beta).sum(dim=1)
    return (1 - rho) * given + rho * _selection_losses(batch, beta, ahead).sum(dim=1)


@objective(
    does="ranks every better response before every worse one, pair by pair",
    when="lists have three or more responses; use it with `top_bottom` 2 and 2",
    younger=("clip_reference",),
    rho_needs={"clip_reference": False},
)
def lambdarank(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    top: Annotated[
        PositiveInt | None, Field(description="use only pairs of the first `top` responses with the rest")
    ] = None,
    reduction: Reduction = "sum",
    clip_reference: ClipReference = False,
) -> Tensor:
    """LarPO's LambdaRank: over pairs of a better i and a worse j, softplus(-(g_i - g_j)), without delta-NDCG weights.

    With `top` only pairs of one of the first `top` responses and one of the others count. `mean` divides by the number
    of pairs. With `clip_reference` the term is softplus(-beta (a_i - a_j - max(0, b_i - b_j))).

    Source: LarPO (arXiv 2502.03699), Eq. 9; clipping is HyPO (arXiv 2602.11902).
    """
    pairs = ordered_pairs(batch)
    if top is not None:
        first = torch.arange(batch.mask.shape[1], device=pairs.device) < top
        pairs = pairs & first.unsqueeze(1) & ~first.unsqueeze(0)
    if clip_reference:
        leads = differences(policy_logps(batch)) - torch.relu(differences(reference_logps(batch)))
        return reduce_terms(-logsigmoid(beta * leads), pairs, reduction)
    return reduce_terms(pair_losses(beta * log_ratios(batch)), pairs, reduction)


@objective(
    does="makes the differences of scores equal to the differences of rewards",
    when="losses on the order alone diverge, and the scale of the rewards is meaningful, or `rewards` gives them one",
    logistic=(),
    younger=("rewards",),
    refuses={
        "margin": "it sets the differences of scores to those of the rewards; use a smaller beta",
    },
)
def gvpo(batch: ListBatch, *, beta: Beta = 0.1, rewards: Rewards = "raw") -> Tensor:
    """GVPO: sum over the m responses of ((g - mean g) - (r - mean r))^2 / (2 (m - 1)).

    Gaps of g are to be gaps of rewards: over all pairs i, j it is the sum of ((g_i - g_j) - (r_i - r_j))^2, divided by
    4 m (m - 1). With two responses that is IPO's square, with a margin of their own.

    Source: Zhang et al. 2025 (arXiv 2504.19599).
    """
    scores = beta * log_ratios(batch)
    errors = differences(scores) - differences(reward_values(batch, rewards)).to(scores.dtype)
    size = batch.mask.sum(dim=1)
    total = reduce_terms(errors.square(), present_pairs(batch), "sum") / (4 * size * (size - 1)).clamp(min=1)
    return where_decided(total, batch)


@objective(
    does="prefers the group of responses above the mean to the others",
    when="lists have several good responses",
    younger=("rewards",),
    refuses={
        "margin": "alpha adds the rewards to the scores already",
        "rho": "alpha adds the rewards to the scores, so that the order of rising log-ratios is not the worst one",
    },
)
def group_contrast(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    alpha: Annotated[
        NonNegativeFloat,
        Field(description="how much a reward's distance from the list's mean adds to the response's score; 0: nothing"),
    ] = 1.0,
    rewards: Rewards = "raw",
) -> Tensor:
    """AMPO's contrast of groups: logsumexp(s) - logsumexp(s of the positives), s = g + alpha (r - mean r).

    Positives are the responses whose reward is above the list's mean.

    Source: AMPO (arXiv 2502.18293), after SWEPO (arXiv 2412.04628).
    """
    # As the mean of differences: rewards that are all equal then have deviations of exactly 0.
    deviations = differences(reward_values(batch, rewards)).masked_fill(~present_pairs(batch), 0.0).sum(dim=2)
    deviations = deviations / batch.mask.sum(dim=1, keepdim=True).clamp(min=1)
    scores = beta * log_ratios(batch)
    scores = scores + alpha * deviations.to(scores.dtype)
    positive = batch.mask & (deviations > 0)
    decided = positive.any(dim=1)
    # A list without positives gets one nonetheless: the logarithm of nothing would have no gradient.
    some = positive | ~decided.unsqueeze(1)
    present = batch.mask | ~decided.unsqueeze(1)
    loss = scores.masked_fill(~present, -torch.inf).logsumexp(1) - scores.masked_fill(~some, -torch.inf).logsumexp(1)
    return torch.where(decided, loss, 0.0)


@objective(
    does="hinge loss on log-probabilities per token over all pairs, and keeps the best response likely",
    when="baseline",
    needs_reference=False,
    refuses={
        "length_normalized": "its log-probabilities are per token anyway",
    },
)
def rrhf(batch: ListBatch, *, sft_weight: SftWeight = 1.0) -> Tensor:
    """RRHF: over pairs of a better i and a worse j, max(0, a_j / n_j - a_i / n_i); minus sft_weight * a_1.

    Reads no reference. Source: Yuan et al. 2023 (arXiv 2304.05302).
    """
    logps = policy_logps(batch)
    hinges = torch.relu(-differences(logps / token_counts(batch)))
    return where_decided(reduce_terms(hinges, ordered_pairs(batch), "sum") - sft_weight * logps[:, 0], batch)


def _scheduled(first: int | None, last: int | Literal["all"], batch: ListBatch) -> Tensor:
    """(B, 1) how many responses of each list are picked at this point of the training."""
    assert batch.progress is not None, "a schedule needs to know how far the training is"
    most = batch.mask.sum(dim=1, keepdim=True) - 1
    begin = most if first is None else torch.full_like(most, first)
    end = most if last == "all" else torch.full_like(most, last)
    done = (batch.progress * ((end - begin).abs() + 1)).floor().to(most.dtype)
    return begin + (end - begin).sign() * torch.minimum(done, (end - begin).abs())


def _selection_losses(batch: ListBatch, beta: float, ahead: Tensor | None = None) -> Tensor:
    """(B, L): -log of the probability to pick response i among itself and those that it is ahead of.

    `ahead` is (B, L, L) bool; without it a response is ahead of the strictly worse ones.
    """
    behind = ordered_pairs(batch) if ahead is None else ahead
    competitors = behind | torch.eye(batch.mask.shape[1], dtype=torch.bool, device=batch.mask.device)
    margins = -differences(beta * log_ratios(batch))
    return margins.masked_fill(~competitors, -torch.inf).logsumexp(dim=2)
