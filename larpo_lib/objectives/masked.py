"""The tensors of a ListBatch that are safe to compute with: wide enough, and finite where no response is present.

Absent entries are replaced before any arithmetic: multiplying by the mask afterwards would let through a NaN in the
padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from larpo_lib.objectives._torch import torch

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch


def policy_logps(batch: ListBatch) -> Tensor:
    """(B, L) log-probabilities under the policy (`a`), in nats, float32 or float64; 0 where no response is present."""
    return _present(batch.policy_logps, batch, absent=0.0)


def reference_logps(batch: ListBatch) -> Tensor:
    """(B, L) log-probabilities under the reference (`b`), in nats; 0 where no response is present."""
    return _present(batch.reference_logps, batch, absent=0.0)


def log_ratios(batch: ListBatch) -> Tensor:
    """(B, L) log pi_theta - log pi_ref (`d = a - b`), in nats; 0 where no response is present."""
    return policy_logps(batch) - reference_logps(batch)


def token_counts(batch: ListBatch) -> Tensor:
    """(B, L) number of tokens of each response (`n`) as floats; 1 where no response is present."""
    return _present(batch.lengths, batch, absent=1.0)


def present_pairs(batch: ListBatch) -> Tensor:
    """(B, L, L) bool, true at [b, i, j] where responses i and j are present."""
    return batch.mask.unsqueeze(2) & batch.mask.unsqueeze(1)


def ordered_pairs(batch: ListBatch) -> Tensor:
    """(B, L, L) bool, true at [b, i, j] where responses i and j are present and i has the strictly higher reward."""
    return present_pairs(batch) & (batch.rewards.unsqueeze(2) > batch.rewards.unsqueeze(1))


def differences(values: Tensor) -> Tensor:
    """(B, L) values to the (B, L, L) tensor of values[b, i] - values[b, j]."""
    return values.unsqueeze(2) - values.unsqueeze(1)


def _present(values: Tensor, batch: ListBatch, *, absent: float) -> Tensor:
    dtype = torch.promote_types(batch.policy_logps.dtype, torch.float32)
    return values.to(dtype).masked_fill(~batch.mask, absent)
