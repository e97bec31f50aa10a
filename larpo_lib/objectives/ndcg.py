"""Objectives of whole ranked lists that aim at NDCG: what a response is worth grows as 2^psi, psi from 0 to 1.

All functions map a batch of B lists, ordered best first, to a (B,) loss. A list without two different rewards has
loss 0 and a zero gradient. `g` is a response's beta * (log pi_theta - log pi_ref).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from larpo_lib.objectives._arguments import Beta, Reduction
from larpo_lib.objectives._entry import objective
from larpo_lib.objectives._torch import torch
from larpo_lib.objectives.masked import differences, log_ratios, ordered_pairs, present_pairs
from larpo_lib.objectives.reward_values import UnitRewards, unit_values
from larpo_lib.objectives.terms import pair_losses, reduce_terms, where_decided

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch

Weights = Annotated[
    Literal["lambdarank", "ndcg1", "ndcg2", "ndcg2pp", "label_diff"],
    Field(description="how pairs are weighted; docs/method.md has the formulas"),
]

_SINKHORN_STEPS = 50

_MU = 10.0
"""What ndcg2 counts in ndcg2++, as in Wang et al. 2018."""


@objective(
    does="LambdaRank with each pair weighted by how much swapping it would change the NDCG",
    when=(
        "rewards are from 0 to 1, because weights grow as 2^reward; for reward models set `rewards` to `minmax` "
        "or `rank`"
    ),
    exponential_gains=True,
    refuses={
        "rho": "its weights depend on the ranks by score, so that the order of rising scores may not be the worst one"
    },
)
def lipo_lambda(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    reduction: Reduction = "sum",
    rewards: UnitRewards = "raw",
) -> Tensor:
    """LiPO-lambda: LambdaRank's pairs weighted by |2^psi_i - 2^psi_j| * |1 / ln(1 + tau_i) - 1 / ln(1 + tau_j)|.

    psi are numbers from 0 to 1, the paper's are win probabilities: the weights of rewards without bounds have none
    either. `raw`: the rewards themselves. `minmax`: where they lie between the list's lowest and highest one.
    `rank`: the share of the list's other responses with a lower reward, equal ones counting one half. tau is a
    response's rank, from 1, by its current g. Equal g rank by reward: were they given one rank, all weights would be 0
    when the policy is still the reference, and training could not start. Ranks are counts: no gradient passes through
    weights.

    Source: Liu et al. 2024 (arXiv 2402.01878).
    """
    scores = beta * log_ratios(batch)
    pairs = ordered_pairs(batch)
    weights = _lambda_weights(scores, pairs, batch, unit_values(batch, rewards))
    return reduce_terms(weights * pair_losses(scores), pairs, reduction)


@objective(
    does="LambdaRank with pairs weighted by their effect on the NDCG, with a cut-off",
    when="only the top of the list matters; rewards as for `lipo_lambda`",
    exponential_gains=True,
    rho_needs={"weights": "label_diff", "top": None},
)
def lambdaloss(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    weights: Weights = "ndcg2",
    top: Annotated[
        PositiveInt | None,
        Field(
            description="use only pairs whose two responses the policy ranks among its first `top`; the NDCG is the "
            "NDCG at `top`. A list with fewer responses counts whole"
        ),
    ] = None,
    rewards: UnitRewards = "raw",
) -> Tensor:
    """LambdaLoss: LambdaRank's pairs, weighted by their effect on the NDCG of the list sorted by g.

    With gains G = (2^psi - 1) / IDCG, discounts D = 1 / log2(1 + rank by g) and l = |rank_i - rank_j|, the weight is
    |D_i - D_j| |G_i - G_j| (`lambdarank`), G_i D_i of the better i (`ndcg1`), |1 / log2(1 + l) - 1 / log2(2 + l)|
    |G_i - G_j| (`ndcg2`), 10 times that plus `lambdarank` (`ndcg2pp`), or |psi_i - psi_j| (`label_diff`). psi and ties
    are as in `lipo_lambda`. With `top` the IDCG is that of the first `top` places, and only pairs count that g ranks
    both among them. No gradient passes through weights.

    Source: Wang et al. 2018 (The LambdaLoss Framework, CIKM); here with natural logarithms of the sigmoid.
    """
    scores = beta * log_ratios(batch)
    pairs = ordered_pairs(batch)
    ranks = _ranks(scores, pairs, batch)
    psi = unit_values(batch, rewards)
    weighed = _pair_weights(weights, psi, _ndcg_gains(psi, batch, top), ranks)
    if top is not None:
        within = ranks <= top
        pairs = pairs & within.unsqueeze(2) & within.unsqueeze(1)
    return reduce_terms(weighed * pair_losses(scores), pairs, "sum")


@objective(
    does="maximises the NDCG, with smooth ranks",
    when="only the top of the list matters; rewards as for `lipo_lambda`",
    exponential_gains=True,
    logistic=("beta", "alpha"),
    rho_needs={"margin": 0.0},
)
def approx_ndcg(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    alpha: Annotated[
        PositiveFloat,
        Field(description="steepness of the smooth ranks; at 25, wrong orders have almost no gradient"),
    ] = 1.0,
    rewards: UnitRewards = "raw",
) -> Tensor:
    """ApproxNDCG: minus the NDCG of the list sorted by g, with smooth ranks.

    A response's rank is .5 + sum over all j, itself included, of sigmoid(alpha (g_j - g_i)). A large `alpha` has
    nearly exact ranks and nearly no gradient: wrong orders then stay. psi is as in `lipo_lambda`.

    Source: Qin et al. 2010 (A general approximation framework, Information Retrieval 13).
    """
    scores = beta * log_ratios(batch)
    behind = torch.sigmoid(-alpha * differences(scores)).masked_fill(~present_pairs(batch), 0.0)
    ranks = 0.5 + behind.sum(dim=2)
    gains = _ndcg_gains(unit_values(batch, rewards), batch).to(scores.dtype)
    return where_decided(-gains / torch.log2(1 + ranks), batch)


@objective(
    does="maximises the NDCG, with a smooth permutation",
    when="the same as for `approx_ndcg`",
    exponential_gains=True,
    logistic=(),
    rho_needs={"margin": 0.0},
)
def neural_ndcg(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    tau: Annotated[
        PositiveFloat,
        Field(description="temperature of the smooth sorting; a small value sorts exactly but has almost no gradient"),
    ] = 1.0,
    rewards: UnitRewards = "raw",
) -> Tensor:
    """NeuralNDCG: minus the NDCG of the list sorted by g, by a smooth permutation (NeuralSort, then Sinkhorn).

    Of m responses, place i has the share softmax over j of ((m + 1 - 2 i) g_j - sum over k of |g_j - g_k|) / tau of
    response j; rows and columns are then scaled to sum to one, without which the loss would push the best response
    down. A small `tau` sorts nearly exactly and has nearly no gradient. psi is as in `lipo_lambda`.

    Source: Pobrotyn and Bialobrzeski 2021 (arXiv 2102.07831); for preferences OPO (arXiv 2410.04346).
    """
    scores = beta * log_ratios(batch)
    gains = _ndcg_gains(unit_values(batch, rewards), batch).to(scores.dtype)
    sorted_gains = (_log_permutation(scores / tau, batch).exp() @ gains.unsqueeze(2)).squeeze(2)
    places = torch.arange(1, batch.mask.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    return where_decided(-sorted_gains / torch.log2(1 + places), batch)


def _log_permutation(scores: Tensor, batch: ListBatch) -> Tensor:
    """(B, L, L) log of the share of place i that response j has; rows and columns sum to one.

    Absent responses have the places behind the present ones to themselves. The number of Sinkhorn's steps is fixed, so
    that a list's loss does not depend on the lists beside it.
    """
    pairs = present_pairs(batch)
    size = batch.mask.sum(dim=1, keepdim=True)
    place = torch.arange(1, batch.mask.shape[1] + 1, device=scores.device)
    slopes = (size + 1 - 2 * place).to(scores.dtype).unsqueeze(2)
    spread = differences(scores).abs().masked_fill(~pairs, 0.0).sum(dim=2)
    logits = (slopes * scores.unsqueeze(1) - spread.unsqueeze(1)).masked_fill(~pairs, -torch.inf)
    logits = logits.masked_fill(torch.eye(len(place), dtype=torch.bool, device=scores.device) & ~pairs, 0.0)
    shares = logits.log_softmax(dim=2)
    for _ in range(_SINKHORN_STEPS):
        shares = shares.log_softmax(dim=1).log_softmax(dim=2)
    return shares


def _lambda_weights(scores: Tensor, pairs: Tensor, batch: ListBatch, gains: Tensor) -> Tensor:
    """(B, L, L): by how much swapping i and j would change the DCG of the list sorted by `scores`, with gains 2^psi."""
    discounts = 1 / torch.log(1 + _ranks(scores, pairs, batch))
    return differences(torch.exp2(gains)).abs().to(scores.dtype) * differences(discounts).abs()


def _ranks(scores: Tensor, pairs: Tensor, batch: ListBatch) -> Tensor:
    """(B, L) ranks by `scores`, from 1 and as floats; of equal scores the better response comes first."""
    margin = differences(scores.detach())
    ahead = (present_pairs(batch) & (margin > 0)) | (pairs & (margin == 0))
    return 1 + ahead.sum(dim=1).to(scores.dtype)


def _pair_weights(weights: Weights, psi: Tensor, gains: Tensor, ranks: Tensor) -> Tensor:
    """(B, L, L) weights of `lambdaloss`, in the precision of the ranks; those of pairs of equal rank mean nothing."""
    discounts = 1 / torch.log2(1 + ranks)
    if weights == "label_diff":
        return differences(psi).abs().to(ranks.dtype)
    if weights == "ndcg1":
        return (gains.to(ranks.dtype) * discounts).unsqueeze(2)
    gaps = differences(gains).abs().to(ranks.dtype)
    swapped = differences(discounts).abs()
    distance = differences(ranks).abs().clamp(min=1)  # of counted pairs it is
    moved = 1 / torch.log2(1 + distance) - 1 / torch.log2(2 + distance)
    return gaps * {"lambdarank": swapped, "ndcg2": moved, "ndcg2pp": _MU * moved + swapped}[weights]


def _ndcg_gains(psi: Tensor, batch: ListBatch, top: int | None = None) -> Tensor:
    """(B, L) of (2^psi - 1) / IDCG, the latter of the first `top` places; 0 where no response is present."""
    gains = (torch.exp2(psi) - 1).masked_fill(~batch.mask, 0.0)
    places = torch.arange(1, batch.mask.shape[1] + 1, device=psi.device)
    counted = gains if top is None else gains.masked_fill(places > top, 0.0)
    ideal = (counted / torch.log2(1.0 + places.to(psi.dtype))).sum(dim=1, keepdim=True)  # lists are best first
    return gains / ideal.where(ideal != 0, 1.0)
