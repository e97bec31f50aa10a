"""Ranked lists from a `datasets.Dataset`, with columns as users of TRL know them, to rows that are encoded.

- `prompt`, `completions`, `rewards`: a list of responses with a reward each.
- `prompt`, `chosen`, `rejected`: a pair; `rejected` may hold several responses. Conversations need no `prompt`. A
  rejected response with the text of the chosen one is as good as it: such a pair is a tie.

Prompts and responses are plain text, or conversations: a prompt is a list of messages then, and a response the
assistant's message in a list, or its text.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from larpo_lib.errors import DataError
from larpo_lib.schemas import UNKNOWN, Messages
from larpo_lib.tables import Row

_LISTS, _PAIRS = ("completions", "rewards"), ("chosen", "rejected")
_CHANGE_RENDERING = ("tools", "chat_template_kwargs", "image", "images")
_FORMS = "Give it columns prompt, completions and rewards, or prompt, chosen and rejected"


@dataclass(frozen=True)
class ListRows:
    """The lists of a data set, best response first.

    Attributes:
        rows: with `prompt_id` (their place), `responses` and `rewards`, and `messages` or, of plain text, `prompt`.
        conversational: whether prompts are conversations.
    """

    rows: list[Row]
    conversational: bool


def read_lists(data: Any, name: str) -> ListRows:
    """The ranked lists of a data set.

    Args:
        data: a `datasets.Dataset`.
        name: what messages call it.

    Raises:
        DataError: it has other columns, or a row does not fit.
    """
    columns = set(getattr(data, "column_names", None) or ())
    if not hasattr(data, "with_format") or not hasattr(data, "__len__"):
        raise DataError(f"is a {type(data).__name__}", path=name, remedy=f"Use a datasets.Dataset. {_FORMS}")
    unused = [column for column in _CHANGE_RENDERING if column in columns]
    if unused:
        raise DataError("is not supported", path=name, field=unused[0], remedy="Remove the column")
    lists, pairs = ([name for name in names if name in columns] for names in (_LISTS, _PAIRS))
    if lists and pairs:
        raise DataError(
            f"has columns of lists ({', '.join(lists)}) and of pairs ({', '.join(pairs)})",
            path=name,
            remedy=f"Remove those that are not meant, for example with remove_columns({pairs})",
        )
    read = next((read for names, read in ((_LISTS, _listed), (_PAIRS, _paired)) if columns.issuperset(names)), None)
    if read is None:
        raise DataError(f"has the columns {', '.join(sorted(columns)) or '(none)'}", path=name, remedy=_FORMS)
    found = [_row(_Place(name, number), row, read) for number, row in enumerate(data.with_format(None))]
    if not found:
        raise DataError("is empty", path=name)
    conversational = "messages" in found[0]
    for number, row in enumerate(found):
        if ("messages" in row) != conversational:
            raise DataError(
                "mixes plain text and conversations", path=name, row=number, field="prompt", remedy="Use one of them"
            )
    return ListRows(found, conversational)


@dataclass(frozen=True)
class _Place:
    """A row of a data set, for messages."""

    name: str
    number: int

    def error(self, field: str, problem: str, remedy: str = "") -> DataError:
        return DataError(problem, path=self.name, row=self.number, field=field, remedy=remedy)


_Read = Callable[[_Place, dict[str, Any]], tuple[Any, list[Any], list[float] | None]]
"""Prompt, responses and rewards; no rewards of a pair, in which the first response is the chosen one."""


def _row(place: _Place, row: dict[str, Any], read: _Read) -> Row:
    """A list with its responses sorted; those of equal reward keep their order."""
    prompt, responses, rewards = read(place, row)
    asked: Row = {"prompt": prompt}
    if not isinstance(prompt, str):
        messages = _messages(place, "prompt", prompt)
        if not messages or messages[-1]["role"] not in ("user", "tool"):
            raise place.error("prompt", "does not end with a message from 'user'")
        asked = {"messages": messages}
    text_of = _text if isinstance(prompt, str) else _reply
    texts = [text_of(place, response) for response in responses]
    if rewards is None:
        rewards = [float(text == texts[0]) for text in texts]
    order = sorted(range(len(rewards)), key=lambda i: -rewards[i])
    return {
        "prompt_id": f"in row {place.number}",
        "rewards": [rewards[i] for i in order],
        "token_ids": [None] * len(order),
        "finish_reasons": [UNKNOWN] * len(order),
        **asked,
        "responses": [texts[i] for i in order],
    }


def _listed(place: _Place, row: dict[str, Any]) -> tuple[Any, list[Any], list[float]]:
    completions, rewards = row["completions"], row["rewards"]
    if not isinstance(completions, list) or not isinstance(rewards, list):
        raise place.error("completions", "is not a list beside a list of rewards")
    if len(completions) != len(rewards):
        raise place.error("rewards", f"contains {len(rewards)} rewards for {len(completions)} completions")
    for reward in rewards:
        if isinstance(reward, bool) or not isinstance(reward, int | float) or not math.isfinite(reward):
            raise place.error("rewards", f"contains {reward!r}, which is not a finite number")
    return _prompt(place, row), completions, [float(reward) for reward in rewards]


def _paired(place: _Place, row: dict[str, Any]) -> tuple[Any, list[Any], None]:
    chosen, rejected = row["chosen"], row["rejected"]
    several = isinstance(rejected, list) and not (rejected and isinstance(rejected[0], dict))
    losers = rejected if several else [rejected]
    if row.get("prompt") is None:
        prompt, chosen = _split(place, "chosen", chosen)
        for other in losers:
            if _split(place, "rejected", other)[0] != prompt:
                raise place.error("rejected", "answers a different prompt than 'chosen'")
        losers = [_split(place, "rejected", other)[1] for other in losers]
    else:
        prompt = _prompt(place, row)
    return prompt, [chosen, *losers], None


def _prompt(place: _Place, row: dict[str, Any]) -> Any:
    prompt = row.get("prompt")
    if not prompt or not isinstance(prompt, str | list):
        raise place.error("prompt", "is missing or empty" if not prompt else "is no text and no list of messages")
    return prompt


def _split(place: _Place, field: str, conversation: Any) -> tuple[Messages, Messages]:
    """A conversation without a prompt beside it: what comes before its last message, and that."""
    if not isinstance(conversation, list):
        raise place.error(field, "has no prompt beside it", "Add a column prompt")
    messages = _messages(place, field, conversation)
    return messages[:-1], messages[-1:]


def _text(place: _Place, response: Any) -> str:
    if not isinstance(response, str):
        raise place.error("prompt", "is plain text, but a response is not", "Use plain text or conversations for both")
    return response


def _reply(place: _Place, response: Any) -> str:
    """The text of a response to a conversation."""
    if isinstance(response, str):
        return response
    messages = _messages(place, "completions", response)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in messages) or "none"
        raise place.error("completions", f"a response has the messages {roles}, not one from 'assistant'")
    return messages[0]["content"]


def _messages(place: _Place, field: str, value: Any) -> Messages:
    if not isinstance(value, Sequence):
        raise place.error(field, "is not a list of messages")
    for message in value:
        known = isinstance(message, dict) and {"role", "content"} <= message.keys()
        if not known or not all(isinstance(message[key], str) for key in ("role", "content")):
            raise place.error(field, "has a message without a role and a text as its content")
        if more := [key for key, part in message.items() if key not in ("role", "content") and part]:
            raise place.error(field, f"has a message with '{more[0]}', which is not supported", "Remove it")
    return [{"role": message["role"], "content": message["content"]} for message in value]
