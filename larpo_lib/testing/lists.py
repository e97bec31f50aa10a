"""Batches of lists for checks of objectives."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from larpo_lib.objectives.batch import ListBatch

Response = tuple[float, float, int, float]
"""Log-probability under the policy, that under the reference, number of tokens, reward."""

Loss = Callable[[ListBatch], Tensor]
"""An objective with its settings: from B lists to a (B,) loss."""


def batch_of(lists: Sequence[Sequence[Response]], *, kl: float = 0.4, dtype: torch.dtype = torch.float64) -> ListBatch:
    """The lists, best first each, as one batch, in the middle of a training; padding holds zeros."""
    width = max(map(len, lists))
    rows = [[*responses, *[(0.0, 0.0, 0, 0.0)] * (width - len(responses))] for responses in lists]
    a, b, n, rewards = torch.tensor(rows, dtype=torch.float64).unbind(dim=2)
    return ListBatch(
        policy_logps=a.to(dtype),
        reference_logps=b.to(dtype),
        lengths=n.long(),
        rewards=rewards,
        mask=torch.tensor([[i < len(responses) for i in range(width)] for responses in lists]),
        kl_baseline=torch.tensor(kl, dtype=dtype),
        progress=0.5,
    )


def with_garbage(batch: ListBatch, garbage: float) -> ListBatch:
    """The batch with `garbage` at masked places."""
    absent = ~batch.mask
    return replace(
        batch,
        policy_logps=batch.policy_logps.masked_fill(absent, garbage),
        reference_logps=batch.reference_logps.masked_fill(absent, garbage),
        lengths=batch.lengths.double().masked_fill(absent, garbage),
        rewards=batch.rewards.masked_fill(absent, garbage),
    )


def loss_and_gradient(loss: Loss, batch: ListBatch) -> tuple[Tensor, Tensor]:
    """(B,) losses, and their (B, L) gradient with respect to the policy's log-probabilities."""
    logps = batch.policy_logps.detach().clone().requires_grad_()
    losses = loss(replace(batch, policy_logps=logps))
    (gradient,) = torch.autograd.grad(losses.sum(), logps)
    return losses.detach(), gradient


def some_list(rng: random.Random, size: int) -> list[Response]:
    """A list of so many responses, best first, some tied. Binary fractions, so that sums are exact; rewards 0 to 1."""
    drawn = [
        (rng.randint(-400, 0) / 8, rng.randint(-400, 0) / 8, rng.randint(1, 40), rng.randint(0, 4) / 4)
        for _ in range(size)
    ]
    return best_first(drawn)


def best_first(responses: Sequence[Response]) -> list[Response]:
    """By falling reward; those of one reward stay in their order."""
    return sorted(responses, key=lambda response: -response[3])
