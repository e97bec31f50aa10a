"""Encoded lists to the tensors of one micro-batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from larpo_lib.objectives.batch import ListBatch
from larpo_lib.policies.layout import Layout, padded
from larpo_lib.training.encode import EncodedList


@dataclass(frozen=True)
class TrainingList:
    """A list with what is known of it before training starts.

    Attributes:
        encoded: the list itself.
        reference_logps: one value a response, in nats; empty where the objective needs none.
        mismatched: another list's best response, for the KL estimate of KTO; empty where not needed.
        mismatched_reference_logp: log-probability of `mismatched` behind this prompt under the reference.
    """

    encoded: EncodedList
    reference_logps: list[float] = field(default_factory=list)
    mismatched: list[int] = field(default_factory=list)
    mismatched_reference_logp: float = 0.0


class Collator:
    """Builds a micro-batch. Keys: `rows` for the scorer, `lists` with the (B, L) fields of a ListBatch.

    With mismatched responses there are also `mismatched_rows` and `mismatched_reference_logps` (B,).
    """

    def __init__(self, layout: Layout, pad_id: int) -> None:
        self._layout = layout
        self._pad_id = pad_id

    def __call__(self, lists: Sequence[TrainingList]) -> dict[str, dict[str, Tensor] | Tensor]:
        """Collate one micro-batch."""
        batch: dict[str, dict[str, Tensor] | Tensor] = {
            "rows": self._layout([item.encoded.tokens for item in lists]),
            "lists": _list_fields(lists),
        }
        if lists[0].mismatched:
            batch["mismatched_rows"] = padded(self._pad_id)(
                [(item.encoded.prompt, [item.mismatched]) for item in lists]
            )
            batch["mismatched_reference_logps"] = torch.tensor([item.mismatched_reference_logp for item in lists])
        return batch


def list_batch(logps: Tensor, fields: dict[str, Tensor], kl_baseline: Tensor | None = None) -> ListBatch:
    """Put the (P,) log-probabilities of a micro-batch's responses into their (B, L) places."""
    mask = fields["mask"]
    policy_logps = torch.zeros(mask.shape, dtype=logps.dtype, device=logps.device).masked_scatter(mask, logps)
    return ListBatch(
        policy_logps=policy_logps,
        reference_logps=fields["reference_logps"],
        lengths=fields["lengths"],
        rewards=fields["rewards"],
        mask=mask,
        kl_baseline=kl_baseline,
    )


def _list_fields(lists: Sequence[TrainingList]) -> dict[str, Tensor]:
    longest = max(len(item.encoded.responses) for item in lists)

    def padded(values: Sequence[float]) -> list[float]:
        return [*values, *[0.0] * (longest - len(values))]

    counts = [len(item.encoded.responses) for item in lists]
    return {
        "reference_logps": torch.tensor([padded(item.reference_logps) for item in lists]),
        "lengths": torch.tensor([padded([len(r) for r in item.encoded.responses]) for item in lists]),
        "rewards": torch.tensor([padded(item.encoded.rewards) for item in lists]),
        "mask": torch.tensor([[i < count for i in range(longest)] for count in counts]),
    }
