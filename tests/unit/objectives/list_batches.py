"""Batches of lists that the tests of the objectives share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from larpo_lib.config import ObjectiveConfig
from larpo_lib.objectives import ListBatch

A = (-10.0, -16.0, -15.0, -30.0)
B = (-14.0, -17.0, -13.0, -20.0)
N = (10, 8, 5, 20)
REWARDS = (1.0, 0.7, 0.4, 0.0)

# Every objective with its defaults, and every setting that selects another formula.
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ObjectiveConfig.entries()),
    ("dpo", {"label_smoothing": 0.1}),
    ("lambdarank", {"top": 1}),
    ("lambdarank", {"top": 2, "reduction": "mean"}),
    ("listmle", {"reduction": "mean"}),
    ("lipo_lambda", {"reduction": "mean"}),
    ("lipo_lambda", {"rewards": "minmax"}),
    ("lipo_lambda", {"rewards": "win_rate"}),
    ("listmle", {"top": 2}),
    ("listmle", {"top": 1, "reduction": "mean"}),
    *(("lambdaloss", {"weights": weights}) for weights in ("lambdarank", "ndcg1", "ndcg2pp", "label_diff")),
    ("lambdaloss", {"top": 3}),
    ("lambdaloss", {"rewards": "win_rate", "weights": "ndcg2pp"}),
    ("approx_ndcg", {"alpha": 4.0, "rewards": "minmax"}),
    ("neural_ndcg", {"tau": 0.5, "rewards": "win_rate"}),
    ("group_contrast", {"alpha": 0.0}),
    ("target", {"direction": "reverse", "tau": 0.5}),
    ("target", {"rewards": "zscore"}),
    ("nca", {"rewards": "zscore", "tau": 0.1}),
    ("ipo", {"length_normalized": True}),
    ("cpo", {"nll": "sum"}),
    ("kto", {"desirable_weight": 1.5, "undesirable_weight": 0.5}),
]
CASE_IDS = ["-".join([name, *(f"{key}={value}" for key, value in settings.items())]) for name, settings in CASES]

# One response: (policy log-prob, reference log-prob, tokens, reward). Binary fractions, so that sums are exact.
Response = tuple[float, float, int, float]
_logps = st.integers(-400, 0).map(lambda eighths: eighths / 8)
_responses = st.tuples(_logps, _logps, st.integers(1, 40), st.integers(0, 4).map(float))


def loss_of(name: str, batch: ListBatch, **settings: Any) -> Tensor:
    """The (B,) loss of an objective with some settings."""
    return ObjectiveConfig.entries()[name](**settings).loss(batch)


def ranked_lists(min_size: int = 1, max_size: int = 6) -> st.SearchStrategy[list[Response]]:
    """Lists of responses, best first, ties of rewards included."""
    lists = st.lists(_responses, min_size=min_size, max_size=max_size)
    return lists.map(lambda responses: sorted(responses, key=lambda response: -response[3]))


def distinct_lists(min_size: int = 2, max_size: int = 6) -> st.SearchStrategy[list[Response]]:
    """Lists of responses without ties, best first."""
    lists = st.lists(_responses, min_size=min_size, max_size=max_size)
    return lists.map(lambda responses: [(a, b, n, -float(i)) for i, (a, b, n, _) in enumerate(responses)])


def batch_of(lists: Sequence[Sequence[Response]], *, kl: float = 0.4, dtype: torch.dtype = torch.float64) -> ListBatch:
    """The lists as one batch; padding holds zeros."""
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
    )


def fixture(*which: int, rewards: Sequence[float] = REWARDS) -> ListBatch:
    """One list of the fixture's responses `which`, counted from 1."""
    return batch_of([[(A[i - 1], B[i - 1], N[i - 1], rewards[i - 1]) for i in which]])


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


def loss_and_gradient(name: str, batch: ListBatch, **settings: Any) -> tuple[Tensor, Tensor]:
    """(B,) losses, and their (B, L) gradient with respect to the policy's log-probabilities."""
    logps = batch.policy_logps.detach().clone().requires_grad_()
    loss = loss_of(name, replace(batch, policy_logps=logps), **settings)
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    return loss.detach(), gradient
