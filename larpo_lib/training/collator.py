"""Encoded lists to the tensors of one forward pass, and one process's part of an optimiser step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from larpo_lib.models.layout import Layout, padded_layout
from larpo_lib.models.packing import packed_tokens
from larpo_lib.objectives.batch import ListBatch
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.plan import rank_micro_batches
from larpo_lib.training.ranks import Ranks

Batch = dict[str, Any]


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
    """Builds the tensors of a forward pass over B lists.

    Keys: `rows` for the scorer, `lists` with the (B, L) fields of a ListBatch, `prompt_ids` of the B lists.

    With mismatched responses there are also `mismatched_rows` and `mismatched_reference_logps` (B,).
    """

    def __init__(self, layout: Layout, pad_id: int) -> None:
        self.layout = layout
        self._pad_id = pad_id

    def __call__(self, lists: Sequence[TrainingList]) -> Batch:
        """Collate the lists of one forward pass."""
        batch: Batch = {
            "rows": self.layout([item.encoded.tokens for item in lists]),
            "lists": _list_fields(lists),
            "prompt_ids": [item.encoded.prompt_id for item in lists],
        }
        if lists[0].mismatched:
            batch["mismatched_rows"] = padded_layout(self._pad_id)(
                [(item.encoded.prompt, [item.mismatched]) for item in lists]
            )
            batch["mismatched_reference_logps"] = torch.tensor([item.mismatched_reference_logp for item in lists])
        return batch


@dataclass(frozen=True)
class RankBatch:
    """One process's part of an optimiser step.

    Attributes:
        micro_batches: its micro-batches.
        counted: for each, whether its lists are this process's; one that only keeps step with the others' is not.
        weight: of the whole step, over all processes: what the summed loss is divided by.
        prompt_ids: of the whole step.
        tokens: of the whole step, each token once however many responses share it, and without padding.
        response_tokens: of the whole step.
    """

    micro_batches: list[Batch]
    counted: list[bool]
    weight: float
    prompt_ids: list[str]
    tokens: int
    response_tokens: int


class OptimizerSteps(Dataset[RankBatch]):
    """The optimiser steps of a training, as one process sees them.

    Args:
        lists: what is trained on.
        batches: the indices of each step's lists (`plan_steps`).
        collate: from lists to the tensors of a forward pass.
        weigh: what a list adds to a step's weight.
        ranks: the processes.
        budget: tokens a forward pass, padding included.
    """

    def __init__(
        self,
        lists: Sequence[TrainingList],
        batches: Sequence[Sequence[int]],
        collate: Collator,
        weigh: Callable[[EncodedList], float],
        ranks: Ranks,
        budget: int,
    ) -> None:
        self.lists = lists
        self._batches = batches
        self._collate = collate
        self._weigh = weigh
        self._ranks = ranks
        self.budget = budget

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> RankBatch:
        batch = self._batches[number]
        cuts = rank_micro_batches(batch, self._cost, self._ranks.world_size, self.budget)[self._ranks.rank]
        shortest = min(batch, key=lambda i: packed_tokens(self.lists[i].encoded.tokens))
        members = [self.lists[i].encoded for i in batch]
        return RankBatch(
            micro_batches=[self._collate([self.lists[i] for i in cut or [shortest]]) for cut in cuts],
            counted=[bool(cut) for cut in cuts],
            weight=sum(self._weigh(item) for item in members),
            prompt_ids=[item.prompt_id for item in members],
            tokens=sum(len(item.prompt) + sum(len(response) for response in item.responses) for item in members),
            response_tokens=sum(len(response) for item in members for response in item.responses),
        )

    def _cost(self, indices: Sequence[int]) -> int:
        return self._collate.layout.cost([self.lists[i].encoded.tokens for i in indices])


def list_batch(
    logps: Tensor,
    fields: dict[str, Tensor],
    kl_baseline: Tensor | None = None,
    progress: float | None = None,
) -> ListBatch:
    """Put the (P,) log-probabilities of a pass's responses into their (B, L) places."""
    mask = fields["mask"]
    policy_logps = torch.zeros(mask.shape, dtype=logps.dtype, device=logps.device).masked_scatter(mask, logps)
    return ListBatch(
        policy_logps=policy_logps,
        reference_logps=fields["reference_logps"],
        lengths=fields["lengths"],
        rewards=fields["rewards"],
        mask=mask,
        kl_baseline=kl_baseline,
        progress=progress,
    )


def _list_fields(lists: Sequence[TrainingList]) -> dict[str, Tensor]:
    longest = max(len(item.encoded.responses) for item in lists)

    def padded(values: Sequence[float]) -> list[float]:
        return [*values, *[0.0] * (longest - len(values))]

    counts = [len(item.encoded.responses) for item in lists]
    return {
        "reference_logps": torch.tensor([padded(item.reference_logps) for item in lists]),
        "lengths": torch.tensor([padded([len(r) for r in item.encoded.responses]) for item in lists]),
        # Rewards are ranked as float64: rounded to float32, some that differ would tie.
        "rewards": torch.tensor([padded(item.encoded.rewards) for item in lists], dtype=torch.float64),
        "mask": torch.tensor([[i < count for i in range(longest)] for count in counts]),
    }
