"""How the responses of lists are laid out in rows: one each behind a copy of the prompt, or all behind one prompt."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from larpo_lib.models.attention import SDPA_IN_PARTS
from larpo_lib.models.packing import PackedList, packed_rows, packed_tokens, round_up
from larpo_lib.models.scoring import TokenRows, padded_rows

PROMPT_SHARING_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3"})
"""Model types whose packed log-probabilities and gradients are tested to equal those of separate rows."""

_WORTH_IT = 1.15
"""How many times more tokens separate rows must hold: below, what packed rows save goes into their many small parts."""
_BLOCK = 128
"""FlexAttention skips blocks of this many queries and keys; rows of whole blocks also make for few shapes."""


@dataclass(frozen=True)
class Layout:
    """From lists to rows; the responses keep their order, list by list.

    Attributes:
        name: `padded_layout`, `packed_layout` or `flex_layout`.
        cost: tokens that a forward pass over these lists works on, padding included. It makes no tensors, and a further
            list never lowers it, so micro-batches can be filled with it.
    """

    name: str
    rows: Callable[[Sequence[PackedList]], TokenRows]
    cost: Callable[[Sequence[PackedList]], int]

    def __call__(self, lists: Sequence[PackedList]) -> TokenRows:
        """Lay out the lists of one micro-batch."""
        return self.rows(lists)


def padded_layout(pad_id: int) -> Layout:
    """One response a row."""

    def rows(lists: Sequence[PackedList]) -> TokenRows:
        prompts = [prompt for prompt, responses in lists for _ in responses]
        return padded_rows(prompts, [response for _, responses in lists for response in responses], pad_id)

    def cost(lists: Sequence[PackedList]) -> int:
        lengths = [packed_tokens((prompt, [response])) for prompt, responses in lists for response in responses]
        return len(lengths) * max(lengths, default=0)

    return Layout("padded", rows, cost)


def packed_layout(pad_id: int) -> Layout:
    """One list a row; see `larpo_lib.models.attention` for what attention costs there."""

    def rows(lists: Sequence[PackedList]) -> TokenRows:
        return packed_rows([[item] for item in lists], pad_id)

    def cost(lists: Sequence[PackedList]) -> int:
        return len(lists) * max((packed_tokens(item) for item in lists), default=0)

    return Layout("packed", rows, cost)


def flex_layout(pad_id: int) -> Layout:
    """All lists in one row, for FlexAttention: attention is paid for by what is seen, so nothing is padded but the end.

    The row is rounded up to whole blocks rather than filled to a token budget: a last, small micro-batch stays small.
    """

    def rows(lists: Sequence[PackedList]) -> TokenRows:
        return packed_rows([lists], pad_id, _BLOCK)

    def cost(lists: Sequence[PackedList]) -> int:
        return round_up(sum(packed_tokens(item) for item in lists), _BLOCK)

    return Layout("flex", rows, cost)


def prompt_sharing_ratio(lists: Sequence[PackedList]) -> float:
    """How many times more tokens one row a response takes than one row a list; of padding, what a list alone needs."""
    separate, together = padded_layout(0), packed_layout(0)
    return sum(separate.cost([item]) for item in lists) / sum(together.cost([item]) for item in lists)


def choose_layout(model: PreTrainedModel, lists: Sequence[PackedList], pad_id: int) -> Layout:
    """Packed rows where the model can take them and they save enough tokens, else padded ones, which the log says."""
    log = logging.getLogger(__name__)
    family, attention = model.config.model_type, model.config._attn_implementation
    if family not in PROMPT_SHARING_FAMILIES:
        log.warning(
            "Training does not share prompts between responses, because models of type %s are not tested with "
            "packed rows: each response is trained with its own copy of the prompt",
            family,
        )
        return padded_layout(pad_id)
    if attention == "flex_attention":
        return flex_layout(pad_id)
    if attention not in (SDPA_IN_PARTS, "sdpa", "eager"):
        log.warning(
            "Training does not share prompts between responses, because this %s model's attention, %s, does not "
            "support the mask for packed rows: each response is trained with its own copy of the prompt",
            family,
            attention,
        )
        return padded_layout(pad_id)
    ratio = prompt_sharing_ratio(lists)
    if ratio < _WORTH_IT:
        log.info(
            "Training does not share prompts between responses: separate rows need only %.2f times as many tokens",
            ratio,
        )
        return padded_layout(pad_id)
    return packed_layout(pad_id)
