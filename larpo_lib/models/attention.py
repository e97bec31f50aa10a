"""sdpa over packed rows part by part: the queries of a response meet the keys of their prompt and of their own only.

A dense mask over m responses of r tokens behind a prompt of p costs (p + m r)^2, most of it for pairs that the mask
hides. Part by part it is p^2 + m r (p + r), less than separate rows pay. FlexAttention does the like on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from larpo_lib.models.packing import PADDING, PROMPT

SDPA_IN_PARTS = "sdpa_in_parts"
"""Name of the attention implementation; without packed rows it is sdpa."""

_LONG = 256
"""Tokens of a row. Dozens of rows of a hundred tokens train twice as fast by one call on a CPU."""


@dataclass(frozen=True)
class Part:
    """A run of a row's tokens that see the same keys.

    Attributes:
        own: its places in the row.
        prompt: number of the row's part that is the prompt it stands behind; None for a prompt and for padding.
    """

    own: slice
    prompt: int | None


def use_sdpa_in_parts(model: PreTrainedModel) -> None:
    """Make a model whose attention is sdpa go through packed rows part by part."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(SDPA_IN_PARTS, _attention)
        AttentionMaskInterface.register(SDPA_IN_PARTS, sdpa_mask)
        model.set_attn_implementation(SDPA_IN_PARTS)


def long_enough_for_parts(rows: dict[str, Tensor]) -> bool:
    """Whether packed rows are long enough that what the mask hides costs more than one call a part does."""
    return rows["groups"].shape[1] >= _LONG


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
        pieces: dict[int, Tensor] = {}
        for alike in _alike(found, lengths):
            heads, _ = sdpa_attention_forward(
                module,
                torch.cat([queries[n] for n in alike]),
                _seen(keys, alike, found[alike[0]].prompt),
                _seen(values, alike, found[alike[0]].prompt),
                torch.stack([_mask(attention_mask[i], found, n) for n in alike]),
                **options,
            )
            pieces.update(zip(alike, heads.split(1), strict=True))
        attended.append(torch.cat([pieces[n] for n in range(len(found))], dim=1))
    return torch.cat(attended), None


def _seen(whole: Sequence[Tensor], alike: Sequence[int], prompt: int | None) -> Tensor:
    """Keys or values that parts see: those of their prompt, if they stand behind one, and their own."""
    own = torch.cat([whole[n] for n in alike])
    return own if prompt is None else torch.cat([whole[prompt].expand(len(alike), -1, -1, -1), own], dim=2)


def _mask(mask: Tensor, parts: Sequence[Part], number: int) -> Tensor:
    """Of a row's (1, S, S) mask, the queries of a part by the keys it sees."""
    own, prompt = parts[number].own, parts[number].prompt
    rows = mask[:, own]
    return rows[..., own] if prompt is None else torch.cat([rows[..., parts[prompt].own], rows[..., own]], dim=-1)


def _alike(parts: Sequence[Part], lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of parts that go through attention together: those of one length behind one prompt."""
    groups: dict[tuple[int | None, int], list[int]] = {}
    for number, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        alone = -1 - number if part.prompt is None else part.prompt  # a prompt, or padding
        groups.setdefault((alone, length), []).append(number)
    return list(groups.values())
