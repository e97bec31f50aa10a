"""Losses of lists part by part: the same values and gradients, and less kept for the backward pass."""

from typing import Any

import pytest
import torch
from list_batches import CASE_IDS, CASES, loss_and_gradient, loss_of

from larpo_lib.objectives import ListBatch, chunks
from larpo_lib.objectives.listwise import listmle


def drawn(lists: int, longest: int) -> ListBatch:
    """Random lists of 1 to `longest` responses."""
    random = torch.Generator().manual_seed(0)
    shape = (lists, longest)
    sizes = torch.randint(1, longest + 1, (lists, 1), generator=random)
    return ListBatch(
        policy_logps=torch.randn(shape, generator=random, dtype=torch.float64),
        reference_logps=torch.randn(shape, generator=random, dtype=torch.float64),
        lengths=torch.randint(1, 40, shape, generator=random),
        rewards=torch.rand(shape, generator=random, dtype=torch.float64).sort(dim=1, descending=True).values,
        mask=torch.arange(longest) < sizes,
        kl_baseline=torch.tensor(0.1, dtype=torch.float64),
        progress=0.5,
    )


@pytest.mark.parametrize(("name", "options"), CASES, ids=CASE_IDS)
def test_chunks_change_neither_loss_nor_gradient(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = drawn(lists=7, longest=5)
    whole = loss_and_gradient(name, batch, **options)
    monkeypatch.setattr(chunks, "_PAIRS", 2 * 5**2)
    parts: list[int] = []
    replaced = chunks._part
    monkeypatch.setattr(chunks, "_part", lambda lists, which: parts.append(which.start) or replaced(lists, which))
    for found, expected in zip(loss_and_gradient(name, batch, **options), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert parts == [0, 2, 4, 6]


def kept_bytes(batch: ListBatch) -> int:
    """What ListMLE keeps for its backward pass, in the shape (B, L, L)."""
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes if tensor.dim() == 3 else 0
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_of("listmle", batch)
    return kept


def test_of_long_lists_no_pair_is_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = drawn(lists=80, longest=128)
    batch.policy_logps.requires_grad_()
    assert kept_bytes(batch) == 0
    monkeypatch.setattr(chunks, "_PAIRS", 1 << 30)
    assert kept_bytes(batch) > 8 * 80 * 128**2


def test_a_reward_models_loss_is_computed_in_chunks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = drawn(lists=3, longest=4)
    whole = listmle(batch, beta=1.0)
    monkeypatch.setattr(chunks, "_PAIRS", 1)
    torch.testing.assert_close(listmle(batch, beta=1.0), whole)
