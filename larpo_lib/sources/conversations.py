"""Puts together what the columns of a row say of one conversation: system prompt, earlier turns, prompt and replies.

Columns often repeat each other: a `prompt` beside whole conversations, a system prompt beside one that begins with it.
A conversation is never doubled, and nothing that stands in a column is lost: what does not fit is refused.
"""

from larpo_lib.schemas import Messages
from larpo_lib.sources.cells import Cell

_IGNORE = (
    "Add the column that does not belong to the conversation to columns.ignore, or drop such rows with invalid = 'drop'"
)


def ending_with_user(messages: Messages, place: Cell) -> Messages:
    """`messages` if they are a prompt, that is, end with the user's."""
    if not messages or messages[-1]["role"] != "user":
        found = (
            f"ends with a message from '{messages[-1]['role']}'" if messages else "contains no message before the reply"
        )
        raise place.error(f"{found}, not from 'user'", "Set columns.prompt to the column with the prompt")
    return messages


def without_reply(messages: Messages, place: Cell) -> Messages:
    """The prompt of a conversation, which may end with the assistant's reply; a reply is left out and counted."""
    if messages and messages[-1]["role"] == "assistant":
        place.notes.counts["replies_dropped"] = 1
        messages = messages[:-1]
    return ending_with_user(messages, place)


def split_reply(messages: Messages, place: Cell) -> tuple[Messages, str]:
    """A conversation split into the prompt, and the assistant's message at its end."""
    if not messages or messages[-1]["role"] != "assistant":
        found = f"from '{messages[-1]['role']}'" if messages else "without an author"
        raise place.error(
            f"ends with a message {found}, not from 'assistant'", "Set columns.response to the column with the reply"
        )
    return ending_with_user(messages[:-1], place), messages[-1]["content"]


def up_to(prompt: Messages, conversation: Messages, place: Cell) -> Messages:
    """The part of a conversation that ends with `prompt`, with the turns before it; what comes after is counted."""
    end = _end(prompt, conversation)
    if end is None:
        raise place.error("does not contain the prompt of the prompt column", _IGNORE)
    if end < len(conversation):
        place.notes.counts["replies_dropped"] = 1
    if end + 1 < len(conversation):
        place.notes.counts["conversations_cut_at_prompt"] = 1
    return conversation[:end]


def follow(prompt: Messages, found: Messages, place: Cell) -> Messages:
    """The conversation of a prompt and of messages that go on from it, or that hold it already."""
    if not found:
        raise place.error("is an empty conversation")
    if found[0]["role"] in ("system", "user") and _end(prompt, found[:-1]) is not None:
        return found
    if found[0]["role"] == prompt[-1]["role"] or found[0]["role"] == "system":
        raise place.error("is a conversation that does not contain the prompt of the prompt column", _IGNORE)
    return prompt + found


def lead(system: str | None, history: Messages, conversation: Messages, place: Cell) -> Messages:
    """A conversation behind the system prompt and the earlier turns that stand in columns of their own."""
    if conversation and conversation[0]["role"] == "system":
        own, conversation = conversation[:1], conversation[1:]
        if system is not None and system.strip() != own[0]["content"].strip():
            raise place.error("starts with a different system prompt than the system column", _IGNORE)
    else:
        own = [{"role": "system", "content": system}] if system is not None else []
    if history and history[0]["role"] == "system":
        if own and own != history[:1]:
            raise place.error("has a different system prompt than its history", _IGNORE)
        own, history = history[:1], history[1:]
    if conversation[: len(history)] == history:
        return own + conversation
    if history[-1]["role"] != "assistant" or not conversation or conversation[0]["role"] != "user":
        raise place.error("does not continue its history, whose last turn must be a reply", _IGNORE)
    return own + history + conversation


def _end(prompt: Messages, conversation: Messages) -> int | None:
    """Where `prompt` ends in a conversation, the last place of several; None where it does not stand in it."""
    plain = [_plain(message) for message in prompt]
    for end in range(len(conversation), len(prompt) - 1, -1):
        if [_plain(message) for message in conversation[end - len(prompt) : end]] == plain:
            return end
    return None


def _plain(message: dict[str, str]) -> tuple[str, str]:
    return message["role"], message["content"].strip()
