"""Reference log-probabilities, by the policy itself before its first step: no second model is ever held."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from larpo_lib.policies.layout import Layout
from larpo_lib.policies.packing import PackedList, packed_tokens
from larpo_lib.progress import progress


def cached_logps(
    path: Path,
    model: PreTrainedModel,
    lists: Sequence[PackedList],
    layout: Layout,
    *,
    batch_size: int,
    bf16: bool,
) -> list[list[float]]:
    """The log-probabilities in `path`, or, where there is no such file yet, computed and kept there.

    Args:
        path: an .npy file in the step's scratch folder, which belongs to exactly these inputs.
        model: a policy with a scorer attached (`attach_scorer`).
        lists: what to score.
        layout: how the training lays them out.
        batch_size: lists a forward pass.
        bf16: whether the training computes in bfloat16: then so must this, or the first log-ratios are not 0.

    Returns:
        For each list the log-probability of each response, in nats.
    """
    if path.is_file():
        flat = np.load(path, allow_pickle=False)
    else:
        flat = reference_logps(model, lists, layout, batch_size=batch_size, bf16=bf16)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("wb") as file:
            np.save(file, flat, allow_pickle=False)
        temporary.replace(path)
    values = iter(flat.tolist())
    return [[next(values) for _ in responses] for _, responses in lists]


@torch.inference_mode()
def reference_logps(
    model: PreTrainedModel, lists: Sequence[PackedList], layout: Layout, *, batch_size: int, bf16: bool
) -> np.ndarray:
    """Log-probability of each response behind its prompt, float32, list by list; lists of like size share a batch."""
    order = sorted(range(len(lists)), key=lambda i: (packed_tokens(lists[i]), i))
    found: dict[int, np.ndarray] = {}
    with progress("reference", len(lists)) as advance:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            rows = {name: value.to(model.device) for name, value in layout([lists[i] for i in batch]).items()}
            with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
                logps = model(**rows).float().cpu().numpy()
            ends = np.cumsum([len(lists[i][1]) for i in batch])
            found.update(zip(batch, np.split(logps, ends[:-1]), strict=True))
            advance(len(batch))
    return np.concatenate([found[i] for i in range(len(lists))])
