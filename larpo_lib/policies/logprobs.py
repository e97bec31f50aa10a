"""Log-probabilities of tokens without the whole [tokens, vocabulary] matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

LogitTransform = Callable[[Tensor], Tensor]


def logit_transform(model: PreTrainedModel) -> LogitTransform:
    """What a model family does to its logits after the output layer: soft-capping (Gemma 2) or scaling (Cohere)."""
    config = model.config
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)

    def transform(logits: Tensor) -> Tensor:
        if scale is not None:
            logits = logits * scale
        if divisor is not None:
            logits = logits / divisor
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    return transform


def token_logps(
    hidden: Tensor, output_layer: torch.nn.Module, targets: Tensor, transform: LogitTransform, chunk_tokens: int
) -> Tensor:
    """Log-probability of each target token, computed a chunk at a time and computed again in the backward pass.

    Args:
        hidden: (N, H) last hidden states at the positions that predict the targets.
        output_layer: H -> vocabulary.
        targets: (N,) token ids.
        transform: see `logit_transform`.
        chunk_tokens: tokens whose logits exist at one time.

    Returns:
        (N,) log-probabilities in nats, float32.
    """

    def chunk_logps(states: Tensor, ids: Tensor) -> Tensor:
        logits = transform(output_layer(states).float())
        return logits.gather(-1, ids[:, None])[:, 0] - logits.logsumexp(-1)

    recompute = torch.is_grad_enabled() and len(targets) > chunk_tokens
    chunks = []
    for states, ids in zip(hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True):
        chunks.append(
            checkpoint(chunk_logps, states, ids, use_reentrant=False) if recompute else chunk_logps(states, ids)
        )
    return torch.cat(chunks)
