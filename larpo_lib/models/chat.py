"""Conversations to text and to token ids, by the tokenizer's own chat template."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.special_text import SpecialText
from larpo_lib.schemas import Messages
from larpo_lib.thinking import OPEN

_RENDERING = "larpo_rendering"
_TEMPLATE_FAILS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What a template raises on a conversation that it was not written for."""


@dataclass(frozen=True)
class _Rendering:
    """What a tokenizer is used with: the day that templates are told, and how to read names of special tokens."""

    date: str
    keeps_text: bool
    special: SpecialText


def attach_settings(tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> None:
    """Render with a tokenizer's template as `config` says; without this, as its defaults say."""
    rendering = _Rendering(config.date, config.special_text == "text", SpecialText(tokenizer))
    setattr(tokenizer, _RENDERING, rendering)


def select_chat_template(tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> None:
    """Give a tokenizer the chat template that is used: the configured one, the only one, or the one named `default`.

    Of several that it keeps, the configured one becomes the `default`, for whoever reads the policy later.

    Raises:
        ModelError: it has none, or several of which none is chosen.
    """
    wanted, own = config.chat_template, tokenizer.chat_template
    named = own if isinstance(own, dict) else {}
    if wanted in named:
        tokenizer.chat_template = {**named, "default": named[wanted]}
    elif wanted is not None and "{" in wanted:
        tokenizer.chat_template = wanted
    elif wanted:
        raise ModelError(
            f"{tokenizer.name_or_path}: model.chat_template = '{wanted}' is not a Jinja template, and the "
            "tokenizer has no template with that name",
            remedy=f"Set it to one of {', '.join(sorted(named))}, or to a Jinja template"
            if named
            else "Set it to a Jinja template",
        )
    elif named and "default" not in named:
        raise ModelError(
            f"{tokenizer.name_or_path}: the tokenizer has several chat templates ({', '.join(sorted(named))}), "
            "but none of them is the default",
            remedy=f"Choose one, for example with --set model.chat_template={min(named)}",
        )
    elif wanted is not None or not own:
        raise ModelError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template",
            remedy="Add chat_template.jinja to the directory, or set model.chat_template. A base model needs the "
            "template that it is fine-tuned with",
        )


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """A prompt as the policy sees it, up to where its response begins.

    Raises:
        ModelError: the chat template refuses the conversation.
    """
    return render_chat_template(tokenizer, messages, add_generation_prompt=True)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    """A prompt's token ids. The template writes the special tokens, so the tokenizer adds none."""
    messages, mark = hide_special_text(tokenizer, messages)
    return tokenize_text(tokenizer, prompt_text(tokenizer, messages), mark)


def conversation_text(tokenizer: PreTrainedTokenizerBase, messages: Messages, response: str) -> str:
    """A prompt with its response, as a reward model sees it."""
    return render_chat_template(tokenizer, with_reply(messages, response), add_generation_prompt=False)


def conversation_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages, response: str) -> list[int]:
    """Token ids of a prompt with its response, as a reward model reads them. The tokenizer adds none."""
    conversation, mark = hide_special_text(tokenizer, with_reply(messages, response))
    return tokenize_text(tokenizer, render_chat_template(tokenizer, conversation, add_generation_prompt=False), mark)


def depends_on_date(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> bool:
    """Whether a prompt is another one on another day, by its chat template."""
    days = (datetime(2001, 2, 3), datetime(2014, 11, 26))
    return len({_apply(tokenizer, messages, day, add_generation_prompt=True) for day in days}) > 1


def opened_think_tag(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """The `<think>` that a chat template opens in the prompt, with the space behind it; nothing where it opens none."""
    _, opened, space = prompt_text(tokenizer, messages).rpartition(OPEN)
    return f"{OPEN}{space}" if opened and not space.strip() else ""


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of a response without special tokens, and with the spaces that the policy wrote."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def find_special_text(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> str | None:
    """The first name of one of the tokenizer's special tokens that stands in `texts`; None if there is none."""
    return _rendering(tokenizer).special.find(texts)


def message_contents(messages: Messages) -> list[str]:
    """What the messages say."""
    return [message["content"] for message in messages]


def with_reply(messages: Messages, response: str) -> Messages:
    """A prompt's messages, and its response as the assistant's."""
    return [*messages, {"role": "assistant", "content": response}]


def hide_special_text(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> tuple[Messages, str | None]:
    """Messages for a template whose text goes to `tokenize_text`, and the mark around hidden names of special tokens.

    None, and the messages as they are, where they hold no such name, or where it is to be read as the token.
    """
    rendering = _rendering(tokenizer)
    if rendering.keeps_text and find_special_text(tokenizer, message_contents(messages)) is not None:
        return rendering.special.hide(messages)
    return messages, None


def tokenize_text(tokenizer: PreTrainedTokenizerBase, text: str, mark: str | None) -> list[int]:
    """Token ids of what a template wrote; what is hidden behind `mark` is read as text."""
    if mark is not None:
        return _rendering(tokenizer).special.ids(text, mark)
    try:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    except Exception as error:  # of a damaged tokenizer; tokenizers raises plain ones
        problem = f"{tokenizer.name_or_path}: the tokenizer cannot read a text: {error}"
        raise ModelError(problem, remedy="Use the tokenizer that the model was trained with") from error
    return ids


def render_chat_template(tokenizer: PreTrainedTokenizerBase, messages: Messages, *, add_generation_prompt: bool) -> str:
    """A conversation as the chat template writes it, on the day that is set.

    Raises:
        ModelError: the template refuses it.
    """
    day = datetime.fromisoformat(_rendering(tokenizer).date)
    return _apply(tokenizer, messages, day, add_generation_prompt=add_generation_prompt)


def begun_reply_text(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """A conversation whose last message is the beginning of the response, up to where the response goes on.

    Raises:
        ModelError: the template refuses it.
    """
    day = datetime.fromisoformat(_rendering(tokenizer).date)
    return _apply(tokenizer, messages, day, continue_final_message=True)


def _apply(tokenizer: PreTrainedTokenizerBase, messages: Messages, day: datetime, **ends: bool) -> str:
    options: dict[str, Any] = {"strftime_now": day.strftime, **ends}
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except _TEMPLATE_FAILS as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ModelError(
            f"{tokenizer.name_or_path}: the chat template refuses a conversation with the roles {roles}: {error}",
            remedy="Use the roles that the model was trained with, or fix the template",
        ) from error
    assert isinstance(text, str)
    return text


def _rendering(tokenizer: PreTrainedTokenizerBase) -> _Rendering:
    if not hasattr(tokenizer, _RENDERING):
        attach_settings(tokenizer, ModelConfig())
    return cast(_Rendering, getattr(tokenizer, _RENDERING))
