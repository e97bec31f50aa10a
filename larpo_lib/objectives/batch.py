"""The one input of every objective: a batch of ranked lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from larpo_lib.objectives._torch import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ListBatch:
    """A batch of B lists of at most L responses each, ordered best first.

    Attributes:
        policy_logps: (B, L) sum of log pi_theta over each response's tokens, in nats (`a` in the paper).
        reference_logps: (B, L) the same under the reference policy (`b`).
        lengths: (B, L) number of tokens of each response (`n`), at least 1 where `mask` is true.
        rewards: (B, L) reranker rewards, non-increasing along each list.
        mask: (B, L) bool, true where a response is present; the present ones come first.
        kl_baseline: () estimate of KL(policy || reference) from mismatched prompt and response pairs, without gradient
            and averaged over all ranks; only objectives that declare `needs_kl` may read it.
        progress: share of the training's optimiser steps that are done, from 0 to 1; None: there is no training.

    Values at masked places are never read: objectives give the same loss and gradient whatever stands there.
    """

    policy_logps: Tensor
    reference_logps: Tensor
    lengths: Tensor
    rewards: Tensor
    mask: Tensor
    kl_baseline: Tensor | None = None
    progress: float | None = None

    def __post_init__(self) -> None:
        shape = self.policy_logps.shape
        assert self.mask.dtype == torch.bool, "mask must be boolean"
        assert len(shape) == 2, f"policy_logps must be (B, L), not {tuple(shape)}"
        for name in ("reference_logps", "lengths", "rewards", "mask"):
            assert getattr(self, name).shape == shape, f"{name} must be {tuple(shape)}"
