"""Options that any objective can have: what is changed in a batch before the loss, and what is added to the loss after.

An objective whose function has an argument of an option's name has its own in the option's place. Where an option means
nothing, `refusal` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeFloat

from larpo_lib.objectives._torch import torch
from larpo_lib.objectives.masked import log_ratios, policy_logps, reference_logps, token_counts
from larpo_lib.objectives.reward_values import Rewards, Scale, reward_values
from larpo_lib.objectives.terms import where_decided

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch


def _share(meaning: str) -> tuple[Any, Any]:
    return Annotated[float, Field(ge=0.0, lt=0.5, description=meaning)], 0.0


def _switch(meaning: str) -> tuple[Any, Any]:
    return Annotated[bool, Field(description=meaning)], False


def _weight(meaning: str) -> tuple[Any, Any]:
    return Annotated[NonNegativeFloat, Field(description=meaning)], 0.0


OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "reference_free": _switch("use log-probabilities in place of log-ratios; no reference is needed"),
    "length_normalized": _switch("divide log-probabilities and log-ratios by the number of tokens"),
    "margin": _weight(
        "by how much a better response's score must lead a worse one's, for each unit by which its reward leads; a "
        "score is beta * log-ratio (without a `beta`, the log-ratio)"
    ),
    "rewards": (Rewards, "raw"),
    "label_smoothing": _share("probability that a list is upside down; the loss is the mean over both orders"),
    "label_noise": _share(
        "share of lists that are known to be upside down; the loss is corrected so that its mean is that of right lists"
    ),
    "rho": _share("weight of the order that is worst for the current policy"),
    "sft_weight": _weight("weight of the best response's NLL per token, which is added to the loss"),
}
"""Each option's type, with its limits and meaning, and the default, which changes nothing."""

_NO_REFERENCE = {
    "reference_free": "it uses no reference anyway",
    "margin": "it uses no reference, and so no log-ratios that a margin could be added to",
    "rho": "it uses no reference, and so no log-ratios that say which order is worst",
}
_KL = dict.fromkeys(
    ("reference_free", "length_normalized"), "it compares log-ratios of whole responses with an estimate of the KL"
)
_OWN_NLL = dict.fromkeys(
    ("label_smoothing", "label_noise"),
    "upside down, its own term of sft_weight would make the worst response likely; use dpo with reference_free and "
    "sft_weight",
)


def refusal(option: str, refuses: Mapping[str, str], facts: Mapping[str, Any], own: Container[str]) -> str | None:
    """Why an option means nothing for an objective, by what it refuses, its facts and its own settings; None: it does.

    The scale of rewards is that of the margin, and is refused with it.
    """
    why = {
        **({} if facts["reads_reference"] else _NO_REFERENCE),
        **(_KL if facts["needs_kl"] else {}),
        **(_OWN_NLL if "sft_weight" in own else {}),
        **refuses,
    }
    return why.get("margin" if option == "rewards" else option)


def with_options(
    loss: Callable[[ListBatch], Tensor],
    batch: ListBatch,
    *,
    beta: float,
    reference_free: bool = False,
    length_normalized: bool = False,
    margin: float = 0.0,
    rewards: Scale = "raw",
    label_smoothing: float = 0.0,
    label_noise: float = 0.0,
    rho: float = 0.0,
    sft_weight: float = 0.0,
) -> Tensor:
    """The (B,) loss of each list, with options.

    The score of a response is what the loss reads of it: its log-ratio, changed by `reference_free` and
    `length_normalized`, less the margin. Of a list without two different rewards nothing is learnt.

    Sources: `margin` is ODPO's (arXiv 2402.10571) with the difference of rewards; `label_smoothing` conservative DPO
    (Mitchell 2023) and `label_noise` robust DPO (arXiv 2403.00409), with the list upside down in place of the pair;
    `rho` is robust Plackett-Luce (arXiv 2607.01715); `sft_weight` RPO and IRPO (arXiv 2404.19733); `reference_free` and
    `length_normalized` SimPO (arXiv 2405.14734).
    """
    read = as_read(batch, reference_free, length_normalized)

    def of(lists: ListBatch) -> Tensor:
        return loss(_with_margin(lists, margin / beta, rewards) if margin else lists)

    turned = label_smoothing - label_noise / (1 - 2 * label_noise)
    total = (1 - turned - rho) * of(read)
    if turned:
        total = total + turned * of(_upside_down(read))
    if rho:
        total = total + rho * of(_worst_order(read))
    return total + sft_weight * _nll_of_the_best(batch) if sft_weight else total


def as_read(batch: ListBatch, reference_free: bool, length_normalized: bool) -> ListBatch:
    """What an objective with these options reads of the lists."""
    if reference_free:
        batch = replace(batch, reference_logps=torch.zeros_like(batch.policy_logps))
    if not length_normalized:
        return batch
    tokens = token_counts(batch)
    policy, reference = policy_logps(batch) / tokens, reference_logps(batch) / tokens
    return replace(batch, policy_logps=policy, reference_logps=reference, lengths=torch.ones_like(tokens))


def _with_margin(batch: ListBatch, margin: float, rewards: Scale) -> ListBatch:
    """Raise worse responses' log-ratios by the margin: through the reference, for losses read the policy's apart."""
    values = reward_values(batch, rewards)
    reference = reference_logps(batch)
    behind = (values[:, :1] - values).masked_fill(~batch.mask, 0.0)
    return replace(batch, reference_logps=reference - margin * behind.to(reference.dtype))


def _upside_down(batch: ListBatch) -> ListBatch:
    """The lists with the worst response first; rewards are mirrored, so that their range and their ties stay."""
    mirrored = _taken(batch, _from_behind(batch))
    values = batch.rewards.to(torch.float64).masked_fill(~batch.mask, 0.0)
    turned = values.gather(1, _from_behind(batch))
    # The first of the turned ones is the lowest.
    return replace(mirrored, rewards=(values[:, :1] + turned[:, :1] - turned).masked_fill(~batch.mask, 0.0))


def _worst_order(batch: ListBatch) -> ListBatch:
    """The lists with the least likely response first, which gets the highest reward; of equal ones the worse first.

    Objectives of which that is not the order with the highest loss refuse `rho`, or the settings by which it is not.
    """
    turned = _taken(batch, _from_behind(batch))
    rising = log_ratios(turned).detach().masked_fill(~batch.mask, torch.inf).argsort(dim=1, stable=True)
    return _taken(turned, rising)


def _from_behind(batch: ListBatch) -> Tensor:
    """(B, L) places of the present responses, the last one first; the others' own."""
    places = torch.arange(batch.mask.shape[1], device=batch.mask.device).expand(batch.mask.shape)
    return torch.where(batch.mask, batch.mask.sum(dim=1, keepdim=True) - 1 - places, places)


def _taken(batch: ListBatch, order: Tensor) -> ListBatch:
    """The lists with other responses at their places, which keep their rewards."""
    policy, reference, tokens = policy_logps(batch), reference_logps(batch), token_counts(batch)
    return replace(
        batch,
        policy_logps=policy.gather(1, order),
        reference_logps=reference.gather(1, order),
        lengths=tokens.gather(1, order),
    )


def _nll_of_the_best(batch: ListBatch) -> Tensor:
    """(B,) negative log-likelihood per token of the best response; of several equally good ones the mean."""
    best = batch.mask & (batch.rewards == batch.rewards[:, :1])
    share = best / best.sum(dim=1, keepdim=True).clamp(min=1)
    return where_decided(-share * policy_logps(batch) / token_counts(batch), batch)
