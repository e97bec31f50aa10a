"""Where an assistant's turn ends: by the model's settings, the tokenizer, the chat template and the user's word."""

from collections.abc import Collection
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.chat import conversation_text

_QUESTION = [{"role": "user", "content": "?"}]
_REPLY = "larporeply"
"""Found again in what a template writes; templates trim replies, but do not rewrite a word."""


@dataclass(frozen=True)
class TurnEnd:
    """How a chat template ends an assistant's turn.

    Attributes:
        token: the token that ends it; eos where the template writes none.
        text: what the template writes behind a reply, up to this token and with it; empty where it writes none.
        tail: all that the template writes behind a reply.
    """

    token: int
    text: str
    tail: str


def turn_end(tokenizer: PreTrainedTokenizerBase, stops: Collection[int] = ()) -> TurnEnd:
    """The end of an assistant's turn, read off the template's own rendering of one.

    It is the first special token, or token of `stops`, that the template writes behind a reply.

    Args:
        tokenizer: of the policy.
        stops: tokens that end a response besides special ones.
    """
    whole = conversation_text(tokenizer, _QUESTION, _REPLY)
    _, found, tail = whole.rpartition(_REPLY)
    if not found:
        return TurnEnd(int(tokenizer.eos_token_id), "", "")
    tokens = {str(token): number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    tokens |= {str(tokenizer.convert_ids_to_tokens(number)): number for number in stops}
    written = sorted((tail.index(name), -len(name), name) for name in tokens if name.strip() and name in tail)
    if not written:
        return TurnEnd(int(tokenizer.eos_token_id), "", tail)
    place, _, name = written[0]
    return TurnEnd(int(tokens[name]), tail[: place + len(name)], tail)


def named_stops(tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> list[int]:
    """The ids of `stop_tokens`.

    Raises:
        ModelError: one is no token.
    """
    vocabulary = tokenizer.get_vocab()
    for name in config.stop_tokens:
        if name not in vocabulary:
            raise ModelError(
                f"{tokenizer.name_or_path}: model.stop_tokens: '{name}' is not in the tokenizer's vocabulary",
                remedy="Use single tokens, as written in tokenizer.json",
            )
    return [int(vocabulary[name]) for name in config.stop_tokens]
