"""Objectives of the best against the worst response of each list.

The best (`w`) is a list's first response and the worst (`l`) its last present one. All functions map a batch of B lists
to a (B,) loss. A list whose best and worst response have the same reward, or with fewer than two responses, has loss 0
and a zero gradient. `a`, `b`, `d`, `g` and `n` are a response's log-probability under policy and reference, `a - b`,
`beta * d` and its number of tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from larpo_lib.objectives._arguments import Beta, ClipReference, SftWeight
from larpo_lib.objectives._entry import objective
from larpo_lib.objectives._torch import logsigmoid, torch
from larpo_lib.objectives.masked import log_ratios, policy_logps, reference_logps, token_counts

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch


@objective(
    does="prefers the best response to the worst",
    when="there are only pairs; with `best_worst` it is iterative DPO",
    younger=("clip_reference",),
    always_written=("label_smoothing",),
    rho_needs={"clip_reference": False},
)
def dpo(batch: ListBatch, *, beta: Beta = 0.1, clip_reference: ClipReference = False) -> Tensor:
    """DPO: softplus(-(g_w - g_l)); with `clip_reference` softplus(-beta (a_w - a_l - max(0, b_w - b_l))).

    Source: Rafailov et al. 2023 (arXiv 2305.18290), Eq. 7; LarPO (arXiv 2502.03699), Eq. 5. Clipping is HyPO (arXiv
    2602.11902).
    """
    if clip_reference:
        lead = _margin(policy_logps(batch), batch) - torch.relu(_margin(reference_logps(batch), batch))
    else:
        lead = _margin(log_ratios(batch), batch)
    return _where_decided(-logsigmoid(beta * lead), batch)


@objective(
    does="moves the difference of the log-ratios to 1 / (2 tau)",
    when="DPO overfits clear preferences",
    always_written=("length_normalized",),
)
def ipo(
    batch: ListBatch,
    *,
    tau: Annotated[
        PositiveFloat,
        Field(
            description="Strength of the regularisation towards the reference; the target margin of the log-ratios is "
            "1 / (2 tau)."
        ),
    ] = 0.1,
) -> Tensor:
    """IPO: (d_w - d_l - 1 / (2 tau))^2.

    Source: Azar et al. 2023 (arXiv 2310.12036), Eq. 17.
    """
    return _where_decided((_margin(log_ratios(batch), batch) - 1 / (2 * tau)) ** 2, batch)


@objective(
    does="hinge loss on log-probabilities, and keeps the best response likely",
    when="baseline",
    needs_reference=False,
)
def slic_hf(
    batch: ListBatch,
    *,
    delta: Annotated[
        PositiveFloat, Field(description="Margin by which the best log-probability should exceed the worst.")
    ] = 1.0,
    sft_weight: SftWeight = 0.1,
) -> Tensor:
    """SLiC-HF: max(0, delta - a_w + a_l) - sft_weight * a_w. Reads no reference.

    Source: Zhao et al. 2023 (arXiv 2305.10425), in the form that SimPO (arXiv 2405.14734) compares with.
    """
    best, worst = _best_worst(policy_logps(batch), batch)
    return _where_decided(torch.relu(delta - best + worst) - sft_weight * best, batch)


@objective(
    does="prefers the best response to the worst, and keeps it likely",
    when="the likelihood of the best response falls during training",
    needs_reference=False,
    refuses={
        "length_normalized": "simpo with gamma = 0 and sft_weight is that",
    },
)
def cpo(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    sft_weight: SftWeight = 1.0,
    nll: Annotated[
        Literal["token", "sum"], Field(description="Whether the NLL is a mean over tokens or a sum over the response.")
    ] = "token",
) -> Tensor:
    """CPO: softplus(-beta (a_w - a_l)) + sft_weight * NLL(w). Reads no reference.

    The NLL is -a_w / n_w (`token`) or -a_w (`sum`).

    Source: Xu et al. 2024 (arXiv 2401.08417).
    """
    logps = policy_logps(batch)
    best, _ = _best_worst(logps / token_counts(batch) if nll == "token" else logps, batch)
    return _where_decided(-logsigmoid(beta * _margin(logps, batch)) - sft_weight * best, batch)


@objective(
    does="DPO with a penalty for length",
    when="responses keep getting longer",
    refuses={
        "length_normalized": "alpha is a price for each token of whole responses; use dpo with length_normalized",
        "rho": "alpha adds the lengths to the scores, so that the order of rising log-ratios is not the worst one",
    },
)
def r_dpo(
    batch: ListBatch,
    *,
    beta: Beta = 0.1,
    alpha: Annotated[NonNegativeFloat, Field(description="Weight of the difference in length, for each token.")] = 0.05,
) -> Tensor:
    """R-DPO: softplus(-(g_w - g_l + alpha (n_w - n_l))), `alpha` per token.

    Source: Park et al. 2024 (arXiv 2403.19159).
    """
    margin = beta * _margin(log_ratios(batch), batch) + alpha * _margin(token_counts(batch), batch)
    return _where_decided(-logsigmoid(margin), batch)


@objective(
    does="prefers the best response to the worst by a margin, per token",
    when="length should not matter",
    needs_reference=False,
    per_token=True,
    refuses={
        "length_normalized": "its log-probabilities are per token anyway",
    },
)
def simpo(
    batch: ListBatch,
    *,
    beta: Beta = 2.0,
    gamma: Annotated[
        NonNegativeFloat, Field(description="Target margin between the best and the worst response.")
    ] = 1.6,
) -> Tensor:
    """SimPO: softplus(-(beta (a_w / n_w - a_l / n_l) - gamma)). Reads no reference.

    Source: Meng et al. 2024 (arXiv 2405.14734).
    """
    margin = beta * _margin(policy_logps(batch) / token_counts(batch), batch) - gamma
    return _where_decided(-logsigmoid(margin), batch)


def _best_worst(values: Tensor, batch: ListBatch) -> tuple[Tensor, Tensor]:
    last = (batch.mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)
    return values[:, 0], values.gather(1, last).squeeze(1)


def _margin(values: Tensor, batch: ListBatch) -> Tensor:
    best, worst = _best_worst(values, batch)
    return best - worst


def _where_decided(loss: Tensor, batch: ListBatch) -> Tensor:
    best, worst = _best_worst(batch.rewards, batch)
    return torch.where(best > worst, loss, 0.0)
