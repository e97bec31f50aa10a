"""How the responses of lists are laid out in rows: one each behind a copy of the prompt, or all behind one prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from larpo_lib.policies.packing import PackedList, packed_rows, packed_tokens
from larpo_lib.policies.scoring import TokenRows, padded_rows

Layout = Callable[[Sequence[PackedList]], TokenRows]
"""From lists to rows; the responses keep their order, list by list."""

SHARING_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3"})
"""Model types whose packed log-probabilities and gradients are tested to equal those of separate rows."""

_WORTH_IT = 1.3
"""Share of tokens saved below which the dense mask of packed rows costs as much as it saves."""


def padded(pad_id: int) -> Layout:
    """One response a row."""

    def lay_out(lists: Sequence[PackedList]) -> TokenRows:
        prompts = [prompt for prompt, responses in lists for _ in responses]
        return padded_rows(prompts, [response for _, responses in lists for response in responses], pad_id)

    return lay_out


def packed(pad_id: int) -> Layout:
    """One list a row: with a dense mask, attention is paid for by the square of the row."""

    def lay_out(lists: Sequence[PackedList]) -> TokenRows:
        return packed_rows(lists, 0, pad_id)

    return lay_out


def sharing_ratio(lists: Sequence[PackedList]) -> float:
    """How many times more tokens one row a response takes than one row a list, padding aside."""
    separate = sum(len(prompt) + len(response) for prompt, responses in lists for response in responses)
    return separate / sum(packed_tokens(item) for item in lists)


def choose(model: PreTrainedModel, lists: Sequence[PackedList], pad_id: int) -> Layout:
    """Packed rows where the model can take them and they save enough tokens, else padded ones."""
    masked = model.config._attn_implementation in ("sdpa", "eager")
    if masked and model.config.model_type in SHARING_FAMILIES and sharing_ratio(lists) >= _WORTH_IT:
        return packed(pad_id)
    return padded(pad_id)
