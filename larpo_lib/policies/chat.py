"""Conversations to token ids, by the tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Collection

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from larpo_lib.errors import ModelError
from larpo_lib.schemas import LENGTH, Messages


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """A prompt as the policy sees it, up to where its response begins."""
    return _render(tokenizer, messages, add_generation_prompt=True)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    """A prompt's token ids. The template writes the special tokens, so the tokenizer adds none."""
    ids: list[int] = tokenizer(prompt_text(tokenizer, messages), add_special_tokens=False)["input_ids"]
    return ids


def response_ids(tokenizer: PreTrainedTokenizerBase, response: str, finish_reason: str, end_of_turn: int) -> list[int]:
    """Token ids of a response that is known as text only.

    A whole response gets the end-of-turn token it must have ended with; one cut at its longest gets none.
    """
    ids: list[int] = tokenizer(response, add_special_tokens=False)["input_ids"]
    return ids if finish_reason == LENGTH else [*ids, end_of_turn]


def conversation_text(tokenizer: PreTrainedTokenizerBase, messages: Messages, response: str) -> str:
    """A prompt with its response, as a reward model sees it."""
    return _render(tokenizer, [*messages, {"role": "assistant", "content": response}], add_generation_prompt=False)


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase, stops: Collection[int]) -> int:
    """The token that ends an assistant's turn: the first stop token the template writes after a response, else eos."""
    question = [{"role": "user", "content": "?"}]
    prompt = prompt_text(tokenizer, question)
    whole = conversation_text(tokenizer, question, "!")
    if whole.startswith(prompt):
        tail = tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        written = [token for token in tail if token in stops]
        if written:
            return int(written[0])
    return int(tokenizer.eos_token_id)


def _render(tokenizer: PreTrainedTokenizerBase, messages: Messages, *, add_generation_prompt: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ModelError(
            f"{tokenizer.name_or_path}: the chat template refuses a conversation with the roles {roles}: {error}",
            remedy="Change the prompts to the roles the model was trained with, or mend the template",
        ) from error
    assert isinstance(text, str)
    return text
