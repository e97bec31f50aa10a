"""Responses that are known as text alone, to the token ids that a policy would write behind their prompt."""

import re
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from larpo_lib.models.chat import hide_special_text, prompt_text, render_chat_template, tokenize_text, with_reply
from larpo_lib.models.turns import TurnEnd
from larpo_lib.schemas import LENGTH, Messages

_OPENED = re.compile(r"(<\w+>)\s*$")
"""What a template may open for the policy, such as `<think>`."""
_BEFORE = ("0", ":", "\n", "a", ".")
"""Texts to tokenize a reply behind; behind one of them it begins with a token of its own."""


@dataclass(frozen=True)
class Reply:
    """A response's token ids, behind its prompt's.

    Attributes:
        ids: with the end of the turn, unless it was cut at its longest.
        merged: the tokenizer would make one token of the prompt's end and the reply's beginning. The policy is given
            the prompt alone and cannot write such a token, so the two are tokenized apart.
        rewritten: the template does not write it as it is, such as one that leaves out what a model thought, or that
            does not continue the prompt. It then stands behind the prompt as it is.
    """

    ids: list[int]
    merged: bool
    rewritten: bool


def encode_reply(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    prompt: list[int],
    response: str,
    finish_reason: str,
    end: TurnEnd,
) -> Reply:
    """Token ids of a response as they stand in its conversation, tokenized as a whole.

    They are what `apply_chat_template` gives for the conversation, behind the prompt's and up to the end of the turn:
    what a template writes after that, mostly a line break, no policy is asked for.

    Args:
        tokenizer: of the policy.
        messages: the prompt.
        prompt: its token ids, by `prompt_ids`.
        response: the text.
        finish_reason: one cut at its longest gets no end.
        end: of a turn, by `turn_end`.
    """
    conversation, mark = hide_special_text(tokenizer, with_reply(messages, response))
    before = prompt_text(tokenizer, conversation[:-1])
    reply = _without_opened(before, conversation[-1]["content"])
    whole = render_chat_template(tokenizer, conversation, add_generation_prompt=False)
    written = _written(whole, before, reply, end.tail)
    text = (reply if written is None else written) + ("" if finish_reason == LENGTH else end.text)
    ids = tokenize_text(tokenizer, before + text, mark)
    merged = ids[: len(prompt)] != prompt
    ids = _apart(tokenizer, text, mark) if merged else ids[len(prompt) :]
    if finish_reason != LENGTH and (not ids or ids[-1] != end.token):
        ids = [*ids, end.token]
    return Reply(ids, merged, written is None)


def encode_continuation(
    tokenizer: PreTrainedTokenizerBase, before: str, prompt: list[int], text: str, finish_reason: str
) -> Reply:
    """Token ids of a text that goes on from a prompt which is plain text, tokenized as a whole.

    Args:
        tokenizer: of the policy.
        before: the prompt.
        prompt: its token ids, with the special tokens that the tokenizer adds.
        text: what follows; it gets the eos token unless it has it already or was cut at its longest.
        finish_reason: how it ended.
    """
    eos = "" if finish_reason == LENGTH or text.endswith(str(tokenizer.eos_token)) else str(tokenizer.eos_token)
    ids: list[int] = tokenizer(before + text + eos)["input_ids"]
    merged = ids[: len(prompt)] != prompt
    return Reply(_apart(tokenizer, text + eos, None) if merged else ids[len(prompt) :], merged, rewritten=False)


def _written(whole: str, before: str, reply: str, tail: str) -> str | None:
    """What a template writes between a prompt and the end of the turn; None if that is not the reply but for spaces."""
    if not whole.startswith(before) or not whole.endswith(tail):
        return None
    written = whole[len(before) : len(whole) - len(tail)]
    return written if squeezed(reply) in squeezed(written) else None


def _without_opened(before: str, reply: str) -> str:
    """A reply without what the prompt has opened for it already, such as `<think>`."""
    opened = _OPENED.search(before)
    if opened is None or not reply.lstrip().startswith(opened[1]):
        return reply
    rest = reply.lstrip()[len(opened[1]) :]
    return rest.lstrip() if before[-1].isspace() else rest


def squeezed(text: str) -> str:
    """A text without white space."""
    return "".join(text.split())


def _apart(tokenizer: PreTrainedTokenizerBase, text: str, mark: str | None) -> list[int]:
    """Token ids of a text that goes on from another, without a token that is of both."""
    for before in _BEFORE:
        first, both = tokenize_text(tokenizer, before, mark), tokenize_text(tokenizer, before + text, mark)
        if both[: len(first)] == first:
            return both[len(first) :]
    return tokenize_text(tokenizer, text, mark)
