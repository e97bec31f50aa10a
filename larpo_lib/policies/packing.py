"""Rows in which the responses of a list share one copy of their prompt.

A row holds one or more lists, each as `prompt, response 1, response 2, ...`. A token sees the prompt of its own list
and, in a response, what stands before it there. Positions go on behind the prompt in every response, so that the
log-probabilities are those of separate rows. A response's last token predicts nothing and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

PackedList = tuple[list[int], list[list[int]]]
"""A prompt and its responses, as token ids."""

PROMPT, PADDING = 0, -1
"""Segment of a prompt's tokens and of padding; the responses of a list are its segments 1, 2, ..."""


def packed_rows(lists: Sequence[PackedList], row_tokens: int, pad_id: int) -> dict[str, Tensor]:
    """Lay out lists in rows of at most `row_tokens` tokens; a list longer than that has a row of its own.

    Returns:
        The keys of `larpo_lib.policies.scoring.TokenRows`, with `groups` and `segments` (R, S) in place of
        `attention_mask`: which list of its row a token belongs to, and which part of the list.
    """
    rows = _fill(lists, row_tokens)
    length = max(sum(packed_tokens(lists[i]) for i in row) for row in rows)
    shape = (len(rows), length)
    tensors = {
        "input_ids": torch.full(shape, pad_id),
        "position_ids": torch.zeros(shape, dtype=torch.long),
        "groups": torch.full(shape, PADDING),
        "segments": torch.full(shape, PADDING),
    }
    first_response = [0]
    for _, responses in lists:
        first_response.append(first_response[-1] + len(responses))
    count = first_response[-1]
    predictors: list[list[int]] = [[] for _ in range(count)]
    for row_number, row in enumerate(rows):
        start = 0
        for group, i in enumerate(row):
            end = start + packed_tokens(lists[i])
            place = (row_number, slice(start, end))
            ids, positions, segments = _lay_out(lists[i])
            tensors["input_ids"][place] = torch.tensor(ids)
            tensors["position_ids"][place] = torch.tensor(positions)
            tensors["segments"][place] = torch.tensor(segments)
            tensors["groups"][place] = group
            offset = row_number * length + start
            for k, found in enumerate(_predictors(lists[i])):
                predictors[first_response[i] + k] = [offset + index for index in found]
            start = end
    responses = [response for _, responses in lists for response in responses]
    return {
        **tensors,
        "predictors": torch.tensor([index for found in predictors for index in found]),
        "targets": torch.tensor([token for response in responses for token in response]),
        "owners": torch.repeat_interleave(torch.arange(count), torch.tensor([len(r) for r in responses])),
        "num_responses": torch.tensor(count),
    }


def packed_tokens(item: PackedList) -> int:
    """Tokens a list takes in a row."""
    prompt, responses = item
    return len(prompt) + sum(len(response) - 1 for response in responses)


def visible(rows: dict[str, Tensor], window: int | None = None) -> Tensor:
    """Which keys each query sees.

    Args:
        rows: from `packed_rows`.
        window: of sliding attention, in positions; not in places, since responses lie behind one another.

    Returns:
        (R, S, S) bool, queries before keys. Padding sees itself, so that no row of the softmax is empty.
    """
    groups, segments, positions = rows["groups"], rows["segments"], rows["position_ids"]
    places = torch.arange(groups.shape[1], device=groups.device)
    same_list = groups[:, :, None] == groups[:, None, :]
    same_part = (segments[:, None, :] == PROMPT) | (segments[:, :, None] == segments[:, None, :])
    seen = same_list & same_part & (places[:, None] >= places[None, :])
    if window is not None:
        seen &= positions[:, :, None] - positions[:, None, :] < window
    return seen


def attention_masks(config: Any, rows: dict[str, Tensor], dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """What a decoder takes as `attention_mask` for packed rows: (R, 1, S, S) of 0 and the dtype's lowest value.

    A four-dimensional mask replaces the model's own, sliding windows included; families that alternate full and sliding
    layers take one by layer type. Floats, since eager attention adds a mask without looking whether it is boolean.
    """

    def additive(window: int | None) -> Tensor:
        mask = torch.zeros((), dtype=dtype, device=rows["groups"].device)
        return mask.masked_fill(~visible(rows, window), torch.finfo(dtype).min)[:, None]

    window = getattr(config, "sliding_window", None)
    layers = set(getattr(config, "layer_types", None) or ())
    if len(layers) > 1:
        return {"full_attention": additive(None), "sliding_attention": additive(window)}
    if config.model_type == "mistral" or layers == {"sliding_attention"}:
        return additive(window)
    return additive(None)


def _fill(lists: Sequence[PackedList], row_tokens: int) -> list[list[int]]:
    """First-fit decreasing: indices of the lists of each row."""
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lists)), key=lambda i: (-packed_tokens(lists[i]), i)):
        size = packed_tokens(lists[i])
        fitting = next((row for row, left in enumerate(room) if size <= left), None)
        if fitting is None:
            rows.append([i])
            room.append(row_tokens - size)
        else:
            rows[fitting].append(i)
            room[fitting] -= size
    return rows


def _lay_out(item: PackedList) -> tuple[list[int], list[int], list[int]]:
    """Token ids, positions and segments of a list."""
    prompt, responses = item
    ids, positions, segments = list(prompt), list(range(len(prompt))), [PROMPT] * len(prompt)
    for segment, response in enumerate(responses, start=1):
        ids += response[:-1]
        positions += range(len(prompt), len(prompt) + len(response) - 1)
        segments += [segment] * (len(response) - 1)
    return ids, positions, segments


def _predictors(item: PackedList) -> list[list[int]]:
    """For each response, the places in the list that predict its tokens; the prompt's last token predicts the first."""
    prompt, responses = item
    found, start = [], len(prompt)
    for response in responses:
        found.append([len(prompt) - 1, *range(start, start + len(response) - 1)])
        start += len(response) - 1
    return found
