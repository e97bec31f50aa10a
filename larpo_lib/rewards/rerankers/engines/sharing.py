"""Scores of a sequence classifier with the responses of a prompt behind one copy of it, as training shares prompts."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from larpo_lib.batches import in_batches
from larpo_lib.models.attention import SDPA_IN_PARTS
from larpo_lib.models.batching import token_batches
from larpo_lib.models.heads import has_own_code
from larpo_lib.models.layout import PROMPT_SHARING_FAMILIES, prompt_sharing_ratio
from larpo_lib.models.packing import PackedList, packed_rows, packed_tokens
from larpo_lib.models.scoring import hidden_states, to_device

WORTH_IT = 1.1
"""How many times more tokens separate rows must hold."""


def can_share(model: PreTrainedModel) -> bool:
    """Whether its family is tested to take rows of several responses, and its attention takes their masks.

    Not with code of its own: its scores may be more than its body's states and its head.
    """
    attention = model.config._attn_implementation
    return (
        not has_own_code(model)
        and model.config.model_type in PROMPT_SHARING_FAMILIES
        and attention in (SDPA_IN_PARTS, "eager")
        and isinstance(getattr(model, "score", None), torch.nn.Linear)
    )


SharedList = tuple[list[int], PackedList]
"""Places of conversations, and the list they make: what they begin with, and the rest of each."""


def shared_lists(sequences: Sequence[list[int]], prompts: Sequence[str], budget: int) -> list[SharedList]:
    """Put the conversations of a prompt together behind what they begin with in common.

    Args:
        sequences: token ids of whole conversations, at least one token each.
        prompts: identity of each one's prompt.
        budget: tokens of a row. A prompt's conversations that do not fit into one have several.

    Returns:
        Lists whose places are indices into `sequences`, each once; every rest has at least one token.
    """
    groups: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(i)
    return [found for places in groups.values() for found in _lists(sequences, places, budget)]


def _lists(sequences: Sequence[list[int]], places: list[int], budget: int) -> Iterator[SharedList]:
    shortest = min(len(sequences[i]) for i in places) - 1
    first = sequences[places[0]]
    differs = (k for k in range(shortest) if any(sequences[i][k] != first[k] for i in places))
    common = next(differs, shortest)
    taken: list[int] = []
    used = common
    for i in places:
        length = len(sequences[i]) - common
        if taken and used + length > budget:
            yield taken, (first[:common], [sequences[j][common:] for j in taken])
            taken, used = [], common
        taken.append(i)
        used += length
    yield taken, (first[:common], [sequences[j][common:] for j in taken])


def worth_sharing(lists: Sequence[PackedList]) -> bool:
    """Whether separate rows would hold enough more tokens, and every list has a beginning to share."""
    return all(prompt for prompt, _ in lists) and prompt_sharing_ratio(lists) >= WORTH_IT


@torch.inference_mode()
def shared_scores(model: PreTrainedModel, lists: Sequence[PackedList], pad_id: int, budget: int) -> list[list[float]]:
    """The score of every response of every list.

    Args:
        model: a classifier that `can_share`.
        lists: of at least one response, each of at least one token.
        pad_id: stands where there is nothing.
        budget: tokens of a forward pass, padding included.
    """
    # Rows leave out what predicts nothing; here it is the last token that counts, so another one stands behind it.
    ended = [(prompt, [[*response, pad_id] for response in responses]) for prompt, responses in lists]

    def score(batch: Sequence[int]) -> list[list[float]]:
        rows = to_device(model.device, packed_rows([[ended[i]] for i in batch], pad_id))
        hidden = hidden_states(model, rows).flatten(0, 1)
        lengths = rows["owners"].bincount(minlength=int(rows["num_responses"]))
        ends = rows["predictors"][lengths.cumsum(0) - 1]
        head: Any = model.score
        flat = iter(head(hidden[ends])[:, 0].float().tolist())
        return [[next(flat) for _ in ended[i][1]] for i in batch]

    found = in_batches(token_batches([packed_tokens(item) for item in ended], budget), score, ended.__getitem__)
    return [found[i] for i in range(len(lists))]
