"""Rows in which the responses of a list share one copy of their prompt.

A row holds one or more lists, each as `prompt, response 1, response 2, ...`. A token sees the prompt of its own list
and, in a response, what stands before it there. Positions go on behind the prompt in every response, so that the
log-probabilities are those of separate rows. A response's last token predicts nothing and is left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

PackedList = tuple[list[int], list[list[int]]]
"""A prompt and its responses, as token ids."""

PROMPT, PADDING = 0, -1
"""Segment of a prompt's tokens and of padding; the responses of a list are its segments 1, 2, ..."""

_WINDOW_IN_EVERY_LAYER = {"mistral", "phi3"}
"""Families without layer types: where their configuration has a sliding window, every layer slides."""

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From the indices of rows, heads, queries and keys, which broadcast, to whether the query sees the key."""


def packed_rows(rows: Sequence[Sequence[PackedList]], pad_id: int, multiple_of: int = 1) -> dict[str, Tensor]:
    """Lay out each of R sequences of lists in a row of its own.

    Args:
        rows: the lists of each row, at least one; responses are numbered through in this order.
        pad_id: stands where there is nothing.
        multiple_of: the row length is rounded up to a multiple of this many tokens.

    Returns:
        The keys of `larpo_lib.models.scoring.TokenRows`, with `groups` and `segments` (R, S) in place of
        `attention_mask`: which list of its row a token belongs to, and which part of the list.
    """
    length = round_up(max(sum(packed_tokens(item) for item in row) for row in rows), multiple_of)
    shape = (len(rows), length)
    tensors = {
        "input_ids": torch.full(shape, pad_id),
        "position_ids": torch.zeros(shape, dtype=torch.long),
        "groups": torch.full(shape, PADDING),
        "segments": torch.full(shape, PADDING),
    }
    predictors: list[int] = []
    for row_number, row in enumerate(rows):
        start = 0
        for group, item in enumerate(row):
            place = (row_number, slice(start, start + packed_tokens(item)))
            ids, positions, segments = _lay_out(item)
            tensors["input_ids"][place] = torch.tensor(ids)
            tensors["position_ids"][place] = torch.tensor(positions)
            tensors["segments"][place] = torch.tensor(segments)
            tensors["groups"][place] = group
            predictors += [row_number * length + start + index for index in _predictors(item)]
            start += packed_tokens(item)
    responses = [response for row in rows for _, responses in row for response in responses]
    return {
        **tensors,
        "predictors": torch.tensor(predictors, dtype=torch.long),
        "targets": torch.tensor([token for response in responses for token in response], dtype=torch.long),
        "owners": torch.repeat_interleave(torch.arange(len(responses)), torch.tensor([len(r) for r in responses])),
        "num_responses": torch.tensor(len(responses)),
    }


def packed_tokens(item: PackedList) -> int:
    """Tokens a list takes in a row."""
    prompt, responses = item
    return len(prompt) + sum(max(len(response) - 1, 0) for response in responses)


def round_up(tokens: int, multiple_of: int) -> int:
    """The next multiple."""
    return -(-tokens // multiple_of) * multiple_of


def visible_keys(rows: dict[str, Tensor], window: int | None = None) -> Tensor:
    """Which keys each query sees.

    Args:
        rows: from `packed_rows`.
        window: of sliding attention, in positions; not in places, since responses lie behind one another.

    Returns:
        (R, S, S) bool, queries before keys. Padding sees itself, so that no row of the softmax is empty.
    """
    count, length = rows["groups"].shape
    row = torch.arange(count, device=rows["groups"].device)[:, None, None]
    place = torch.arange(length, device=rows["groups"].device)
    return _mask_mod(rows, window)(row, row, place[:, None], place)


def attention_masks(
    config: Any, rows: dict[str, Tensor], dtype: torch.dtype
) -> Tensor | BlockMask | dict[str, Tensor | BlockMask]:
    """What a decoder takes as `attention_mask` for packed rows, by its attention implementation.

    FlexAttention takes a BlockMask; the dense S x S booleans it is made from exist for a moment. sdpa and eager take
    (R, 1, S, S) of 0 and the dtype's lowest value: floats, since eager attention adds a mask without looking whether it
    is boolean. Either replaces the model's own mask, sliding windows included; families that alternate full and sliding
    layers take one by layer type.
    """

    def mask(window: int | None) -> Tensor | BlockMask:
        flex = config._attn_implementation == "flex_attention"
        return _block_mask(rows, window) if flex else _additive_mask(rows, window, dtype)

    window = getattr(config, "sliding_window", None)
    layers = set(getattr(config, "layer_types", None) or ())
    if config.model_type in _WINDOW_IN_EVERY_LAYER or layers == {"sliding_attention"}:
        return mask(window)
    if len(layers) > 1:
        return {"full_attention": mask(None), "sliding_attention": mask(window)}
    return mask(None)


def _mask_mod(rows: dict[str, Tensor], window: int | None) -> MaskMod:
    groups, segments, positions = rows["groups"], rows["segments"], rows["position_ids"]

    def sees(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_list = groups[row, query] == groups[row, key]
        same_part = (segments[row, key] == PROMPT) | (segments[row, query] == segments[row, key])
        seen = same_list & same_part & (query >= key)
        if window is None:
            return seen
        return seen & (positions[row, key] > positions[row, query] - window)

    return sees


def _additive_mask(rows: dict[str, Tensor], window: int | None, dtype: torch.dtype) -> Tensor:
    mask = torch.zeros((), dtype=dtype, device=rows["groups"].device)
    return mask.masked_fill(~visible_keys(rows, window), torch.finfo(dtype).min)[:, None]


def _block_mask(rows: dict[str, Tensor], window: int | None) -> BlockMask:
    count, length = rows["groups"].shape
    return create_block_mask(_mask_mod(rows, window), count, None, length, length, rows["groups"].device)


def _lay_out(item: PackedList) -> tuple[list[int], list[int], list[int]]:
    """Token ids, positions and segments of a list."""
    prompt, responses = item
    ids, positions, segments = list(prompt), list(range(len(prompt))), [PROMPT] * len(prompt)
    for segment, response in enumerate(responses, start=1):
        ids += response[:-1]
        positions += range(len(prompt), len(prompt) + len(response) - 1)
        segments += [segment] * (len(response) - 1)
    return ids, positions, segments


def _predictors(item: PackedList) -> list[int]:
    """The places in the list that predict its responses' tokens; the prompt's last token predicts the first of each."""
    prompt, responses = item
    found, start = [], len(prompt)
    for response in responses:
        if response:
            found += [len(prompt) - 1, *range(start, start + len(response) - 1)]
            start += len(response) - 1
    return found
