"""Reference log-probabilities, by the policy itself before its first step: no second model is ever held."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from larpo_lib.policies.scoring import padded_rows
from larpo_lib.progress import progress

Pair = tuple[list[int], list[int]]
"""A prompt and a response as token ids."""


def cached_logps(path: Path, model: PreTrainedModel, pairs: Sequence[Pair], pad_id: int, batch_size: int) -> np.ndarray:
    """The log-probabilities in `path`, or, where there is no such file yet, computed and kept there.

    Args:
        path: an .npy file in the step's scratch folder, which belongs to exactly these inputs.
        model: a policy with a scorer attached (`attach_scorer`).
        pairs: what to score.
        pad_id: padding token.
        batch_size: pairs a forward pass.

    Returns:
        (len(pairs),) float32, in nats.
    """
    if path.is_file():
        return np.load(path, allow_pickle=False)
    logps = reference_logps(model, pairs, pad_id, batch_size)
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        np.save(file, logps, allow_pickle=False)
    temporary.replace(path)
    return logps


@torch.inference_mode()
def reference_logps(model: PreTrainedModel, pairs: Sequence[Pair], pad_id: int, batch_size: int) -> np.ndarray:
    """Log-probability of each response behind its prompt; pairs of like length share a batch."""
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][0]) + len(pairs[i][1]), i))
    logps = np.zeros(len(pairs), dtype=np.float32)
    with progress("reference", len(pairs)) as advance:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            rows = padded_rows([pairs[i][0] for i in batch], [pairs[i][1] for i in batch], pad_id)
            logps[batch] = model(**{name: value.to(model.device) for name, value in rows.items()}).float().cpu().numpy()
            advance(len(batch))
    return logps
