"""sdpa over packed rows part by part: the queries of a response meet the keys of their prompt and of their own only.

A dense mask over m responses of r tokens behind a prompt of p costs (p + m r)^2, most of it for pairs that the mask
hides. Part by part it is p^2 + m r (p + r), less than separate rows pay. FlexAttention does the like on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from larpo_lib.policies.packing import PADDING, PROMPT

SDPA_IN_PARTS = "sdpa_in_parts"
"""Name of the attention implementation; without packed rows it is sdpa."""


@dataclass(frozen=True)
class Part:
    """A run of a row's tokens that see the same keys.

    Attributes:
        own: its places in the row.
        prompt: number of the row's part that is the prompt it stands behind; None for a prompt and for padding.
    """

    own: slice
    prompt: int | None


def attend_in_parts(model: PreTrainedModel) -> None:
    """Make a model whose attention is sdpa go through packed rows part by part."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(SDPA_IN_PARTS, _attention)
        AttentionMaskInterface.register(SDPA_IN_PARTS, sdpa_mask)
        model.set_attn_implementation(SDPA_IN_PARTS)


def parts_of(rows: dict[str, Tensor]) -> list[list[Part]]:
    """The parts of each packed row, in its order; together they cover the row."""
    return [
        _parts_of_row(groups, segments)
        for groups, segments in zip(rows["groups"].tolist(), rows["segments"].tolist(), strict=True)
    ]


def _parts_of_row(groups: Sequence[int], segments: Sequence[int]) -> list[Part]:
    found: list[Part] = []
    prompt: int | None = None
    start = 0
    for place in range(1, len(groups) + 1):
        if place < len(groups) and (groups[place], segments[place]) == (groups[start], segments[start]):
            continue
        if segments[start] == PROMPT:
            prompt = len(found)
        found.append(Part(slice(start, place), prompt if segments[start] not in (PROMPT, PADDING) else None))
        start = place
    return found


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    parts: Sequence[Sequence[Part]] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """(R, heads, S, d) queries, keys and values to (R, S, heads, d), by the (R, 1, S, S) mask of packed rows."""
    if parts is None:
        whole: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return whole
    assert attention_mask is not None
    attended = []
    for i, found in enumerate(parts):
        # Split, not sliced: the gradient of a slice is as long as the whole row.
        lengths = [part.own.stop - part.own.start for part in found]
        queries, keys, values = (whole[i : i + 1].split(lengths, dim=2) for whole in (query, key, value))
        pieces = []
        for own, part in enumerate(found):
            seen = [own] if part.prompt is None else [part.prompt, own]
            mask = torch.cat([attention_mask[i : i + 1, :, part.own, found[n].own] for n in seen], dim=-1)
            seen_keys, seen_values = (torch.cat([whole[n] for n in seen], dim=2) for whole in (keys, values))
            pieces.append(sdpa_attention_forward(module, queries[own], seen_keys, seen_values, mask, **options)[0])
        attended.append(torch.cat(pieces, dim=1))
    return torch.cat(attended), None
