"""What a training step tells about itself."""

from __future__ import annotations

import torch

from larpo_lib.objectives.batch import ListBatch


@torch.no_grad()
def batch_metrics(batch: ListBatch) -> dict[str, float]:
    """Sums over the batch's lists of what is averaged in the end.

    - margin: log-ratio of the best minus that of the worst response, in nats
    - ranking_accuracy: share of pairs with different rewards that the log-ratios order as the rewards do
    - kl: mean of log(reference / policy) over the list's responses, an estimate of KL(reference || policy)
    - chosen_logp_drift: how far the best response's log-probability has moved (likelihood displacement)
    """
    log_ratios = (batch.policy_logps - batch.reference_logps).masked_fill(~batch.mask, 0.0)
    last = batch.mask.sum(-1) - 1
    margin = log_ratios[:, 0] - log_ratios.gather(1, last[:, None])[:, 0]
    present = batch.mask[:, :, None] & batch.mask[:, None, :]
    better = present & (batch.rewards[:, :, None] > batch.rewards[:, None, :])
    ordered = better & (log_ratios[:, :, None] > log_ratios[:, None, :])
    accuracy = ordered.sum((1, 2)) / better.sum((1, 2)).clamp(min=1)
    kl = -log_ratios.sum(-1) / batch.mask.sum(-1)
    return {
        "margin": margin.sum().item(),
        "ranking_accuracy": accuracy.sum().item(),
        "kl": kl.sum().item(),
        "chosen_logp_drift": log_ratios[:, 0].sum().item(),
    }
