"""Objectives that match a target distribution over the responses of a list: how far rewards lie apart counts.

All functions map a batch of B lists to a (B,) loss. The target is q = softmax(u / tau) of a list's rewards u, raw or on
another scale, so responses with equal rewards are to become equally likely. A list without two different rewards has
loss 0 and a zero gradient. `g` is a response's beta * (log pi_theta - log pi_ref).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat

from larpo_lib.objectives._arguments import Beta
from larpo_lib.objectives._entry import objective
from larpo_lib.objectives._torch import logsigmoid, torch
from larpo_lib.objectives.masked import log_ratios
from larpo_lib.objectives.reward_values import Rewards, reward_values
from larpo_lib.objectives.terms import where_decided

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch

Tau = Annotated[
    PositiveFloat,
    Field(
        description="temperature of the target softmax(rewards / tau); a smaller value gives the best response more "
        "weight"
    ),
]


@objective(
    does="pushes the probabilities over the list towards softmax(rewards / tau)",
    when='the differences between rewards are meaningful; use `rewards = "zscore"` for scores without a scale',
    logistic=(),
    refuses={
        "margin": "the target says how far scores are to be apart; use a smaller tau",
    },
)
def target(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    tau: Tau = 1.0,
    direction: Annotated[
        Literal["forward", "reverse"],
        Field(
            description="forward: cross-entropy from the target to the policy (InfoNCA, ListNet, TPO); reverse: KL from"
            " the policy to the target"
        ),
    ] = "forward",
    rewards: Rewards = "raw",
) -> Tensor:
    """Cross-entropy -sum q log P (`forward`), or KL(P || q) (`reverse`), of P = softmax(g) and the target q.

    `forward` on raw rewards is InfoNCA and ListNet, on z-scores TPO; with two responses it is DPO with label smoothing
    sigmoid(-(r_1 - r_2) / tau), and for tau towards 0 `contrastive`.

    Source: InfoNCA (arXiv 2402.05369); ListNet (Cao et al. 2007); LPO (arXiv 2605.06139); TPO (arXiv 2604.06159).
    """
    log_policy = _log_softmax(beta * log_ratios(batch), batch)
    log_target = _log_target(batch, rewards, tau).to(log_policy.dtype)
    terms = -log_target.exp() * log_policy if direction == "forward" else log_policy.exp() * (log_policy - log_target)
    return where_decided(terms, batch)


@objective(
    does="raises or lowers the likelihood of each response as the target says",
    when="the likelihood of the best response falls during training",
    logistic=(),
    refuses={
        "margin": "the target says how likely each response is to be; use a smaller tau",
        "reference_free": "it raises and lowers likelihoods from those under the reference",
    },
)
def nca(batch: ListBatch, *, beta: Beta = 0.1, tau: Tau = 1.0, rewards: Rewards = "raw") -> Tensor:
    """NCA: over the m responses, -sum q log sigmoid(g) - (1 / m) sum log sigmoid(-g), with the target q.

    It fixes each response's likelihood and not only their differences, so the best one's does not fall along.

    Source: Chen et al. 2024 (arXiv 2402.05369); with two responses and tau towards 0 TRL's `nca_pair`.
    """
    scores = beta * log_ratios(batch)
    shares = _log_target(batch, rewards, tau).to(scores.dtype).exp()
    present = batch.mask.sum(dim=1, keepdim=True).clamp(min=1)
    return where_decided(-shares * logsigmoid(scores) - logsigmoid(-scores) / present, batch)


def _log_target(batch: ListBatch, rewards: Rewards, tau: float) -> Tensor:
    """(B, L) log q in float64, in which close rewards are still apart; 0 where no response is present."""
    return _log_softmax(reward_values(batch, rewards) / tau, batch)


def _log_softmax(values: Tensor, batch: ListBatch) -> Tensor:
    """(B, L) log of the share of each present response among them; 0 where none is present."""
    return values.masked_fill(~batch.mask, -torch.inf).log_softmax(dim=1).masked_fill(~batch.mask, 0.0)
