"""What a training step tells about itself: how its policy orders the responses, and how far it has moved.

The functions give sums over the lists of a micro-batch, for means over a global batch. A list for which a measure is
not defined counts 0: without two different rewards all of the order but the margin; with equal scores, such as at the
first step, Kendall's tau.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from larpo_lib.objectives.batch import ListBatch
from larpo_lib.objectives.masked import (
    differences,
    log_ratios,
    ordered_pairs,
    policy_logps,
    present_pairs,
    reference_logps,
    token_counts,
)


@torch.no_grad()
def batch_metrics(batch: ListBatch) -> dict[str, float]:
    """Sums over the batch's lists of what is averaged in the end, where the objective has a reference.

    - margin, ranking_accuracy, kendall_tau, ndcg: of the log-ratios (in nats), see `order_metrics`
    - kl: mean of log(reference / policy) over the list's responses, an estimate of KL(reference || policy)
    - chosen_logp_drift: how far the best response's log-probability has moved (likelihood displacement)
    """
    ratios = log_ratios(batch)
    drift = {"kl": -ratios.sum(-1) / batch.mask.sum(-1), "chosen_logp_drift": ratios[:, 0]}
    return _sums({**order_metrics(ratios, batch), **drift})


@torch.no_grad()
def reference_free_metrics(batch: ListBatch) -> dict[str, float]:
    """The sums of `batch_metrics` that exist without a reference; `reference_logps` are not read.

    They are of log-probabilities per token (nats a token), the implicit rewards of RRHF and SimPO.
    """
    return _sums(order_metrics(policy_logps(batch) / token_counts(batch), batch))


SATURATED_AT = math.log(99)
"""Scores so far apart in the right order: a sigmoid of their difference is .99, and 1 % of DPO's gradient is left."""


@torch.no_grad()
def list_metrics(batch: ListBatch, exponents: Tensor | None, *, has_reference: bool) -> dict[str, float]:
    """Sums over the batch's lists of what says whether there is something to learn from them.

    - reward_gap: reward of the best minus that of the worst response
    - hard_pair_share: share of pairs with different rewards whose worse response the reference finds at least as likely
      per token as the better one
    - saturated_pair_share: share of those that are `SATURATED_AT` apart or further, by each of several exponents

    Args:
        batch: B lists.
        exponents: (B, L) or (P, B, L) as `larpo_lib.config.ObjectiveConfig.exponents`; without them no pair can be
            saturated.
        has_reference: `reference_logps` may be read.
    """
    better = ordered_pairs(batch)
    count = better.sum((1, 2)).clamp(min=1)
    worst = batch.mask.sum(-1, keepdim=True) - 1
    found = {"reward_gap": batch.rewards[:, 0] - batch.rewards.gather(1, worst)[:, 0]}
    if has_reference:
        leads = differences(reference_logps(batch) / token_counts(batch))
        found["hard_pair_share"] = ((leads <= 0) & better).sum((1, 2)) / count
    if exponents is not None:
        apart = exponents.unsqueeze(-1) - exponents.unsqueeze(-2) >= SATURATED_AT
        found["saturated_pair_share"] = (apart.reshape(-1, *better.shape).all(0) & better).sum((1, 2)) / count
    return _sums(found)


class Pulls:
    """How hard each list of a step pulls: the sum of |dL/dlogp| over its responses, times what all have in common."""

    def __init__(self) -> None:
        self._found: list[Tensor] = []

    def watch(self, batch: ListBatch) -> None:
        """Note the gradients of a batch's lists once they are there."""
        batch.policy_logps.register_hook(lambda gradient: self._found.append(gradient.detach().abs().sum(-1)))

    def take(self) -> list[float]:
        """Those since the last time."""
        found: list[float] = torch.cat(self._found).tolist() if self._found else []
        self._found = []
        return found


def top_share(pulls: Sequence[Sequence[float]]) -> float:
    """The largest list's share of all pulls, those of every process; 0 where nothing pulls."""
    of_all = [pull for found in pulls for pull in found]
    return max(of_all) / total if (total := sum(of_all)) else 0.0


def _sums(per_list: dict[str, Tensor]) -> dict[str, float]:
    totals = torch.stack(list(per_list.values())).sum(-1).tolist()  # the one wait for the device
    return dict(zip(per_list, totals, strict=True))


def order_metrics(scores: Tensor, batch: ListBatch) -> dict[str, Tensor]:
    """How well (B, L) scores order responses as their rewards do: (B,) each.

    - margin: score of the best minus that of the worst response
    - ranking_accuracy: share of pairs with different rewards that the scores order as the rewards do
    - kendall_tau: tau-b of scores and rewards, as `larpo_lib.statistics.ranking.kendall_tau`
    - ndcg: of the responses sorted by score, see `_ndcg`
    """
    worst = batch.mask.sum(-1, keepdim=True) - 1
    better = ordered_pairs(batch)
    signs = differences(scores).sign() * present_pairs(batch)
    agreement = signs * (better.int() - better.mT.int())
    untied = signs.abs().sum((1, 2)) * 2 * better.sum((1, 2))  # tau-b's, over each pair in both directions
    return {
        "margin": scores[:, 0] - scores.gather(1, worst)[:, 0],
        "ranking_accuracy": ((signs > 0) & better).sum((1, 2)) / better.sum((1, 2)).clamp(min=1),
        "kendall_tau": agreement.sum((1, 2)) / untied.clamp(min=1).sqrt(),
        "ndcg": _ndcg(scores, batch.rewards - batch.rewards.gather(1, worst), batch),
    }


def _ndcg(scores: Tensor, gains: Tensor, batch: ListBatch) -> Tensor:
    """(B,) normalised discounted cumulative gain of gains of at least 0, as `larpo_lib.statistics.ranking.ndcg`.

    A response's gain is its reward above the worst one of its list: unlike the rewards it is never negative, and
    rewards of 0 and 1 are their own gains. Equal scores share the mean of their places' discounts, so that the order
    in which the responses stand in the batch does not count (McSherry and Najork 2008; `sklearn.metrics.ndcg_score`).

    Args:
        scores: (B, L).
        gains: (B, L), non-increasing along each list.
        batch: says which responses are present.
    """
    gains = gains.to(scores.dtype).masked_fill(~batch.mask, 0.0)
    leads, pairs = differences(scores), present_pairs(batch)
    higher = ((leads < 0) & pairs).sum(-1)
    equal = ((leads == 0) & pairs).sum(-1).clamp(min=1)  # itself included
    discounts = torch.arange(2, gains.shape[1] + 2, device=gains.device, dtype=gains.dtype).log2().reciprocal()
    summed = pad(discounts.cumsum(0), (1, 0))
    shared = (summed[higher + equal] - summed[higher]) / equal
    ideal = (gains * discounts).sum(-1)
    return (gains * shared).sum(-1) / ideal.where(ideal > 0, 1.0)
