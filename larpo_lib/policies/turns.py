"""Where an assistant's turn ends: by the model's settings, the tokenizer, the chat template and the user's word."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from transformers import GenerationConfig, PreTrainedTokenizerBase

from larpo_lib.adapters import model_directory
from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.policies.chat import conversation_text
from larpo_lib.policies.load import first_line, load_model_config

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


def stop_token_ids(path: Path, config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end a response.

    They are the model's own by its generation settings, the tokenizer's eos, `stop_tokens`, and the one with which the
    chat template ends a turn: many models name only `<|endoftext|>`, and end their turns with `<|im_end|>`.

    Raises:
        ModelError: the generation settings cannot be read, or `stop_tokens` names what is no token.
    """
    stops = {*generation_stops(path, config), int(tokenizer.eos_token_id), *named_stops(tokenizer, config)}
    return sorted({*stops, turn_end(tokenizer, stops).token})


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
                remedy="Name single tokens, as tokenizer.json writes them",
            )
    return [int(vocabulary[name]) for name in config.stop_tokens]


def generation_stops(path: Path, config: ModelConfig) -> list[int]:
    """Tokens that end a response by a model's generation settings, or where it has none by its config.json.

    Raises:
        ModelError: they cannot be read.
    """
    path = model_directory(path)
    if (path / "generation_config.json").is_file():
        try:
            generation = GenerationConfig.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: generation_config.json cannot be read: {first_line(error)}") from error
    else:
        generation = GenerationConfig.from_model_config(load_model_config(path, config))
    stated = generation.eos_token_id
    return stated if isinstance(stated, list) else [stated] if stated is not None else []
