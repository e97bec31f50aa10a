"""Conversations that are written as text: JSON in a cell of a CSV file, and turns after `Human:` and `Assistant:`."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_LIKE_MESSAGES = re.compile(r"""\s*\[?\s*\{\s*["'](role|from|content|value)["']\s*:""")
_LIKE_LIST = re.compile(r"\s*\[")
_DIALOGUE = re.compile(r"\s*Human:")
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def like_messages(text: str) -> bool:
    """Whether a text begins as messages do that were written as JSON, or by Python."""
    return bool(_LIKE_MESSAGES.match(text))


def like_list(text: str) -> bool:
    """Whether a text begins as a list does."""
    return bool(_LIKE_LIST.match(text))


def written_value(text: str) -> Any:
    """The value of JSON, or of a list or dict as Python prints it and pandas writes it to CSV; None: neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def turns(text: str) -> list[dict[str, str]] | None:
    """The turns of a text in the form of hh-rlhf (Bai et al. 2022, arXiv 2204.05862); None where it is another text.

    That is `Human: ...`, blank line, `Assistant: ...`, and so on, from the text's start. White space around a turn is
    left out; so is a last turn of the assistant that is empty, which asks for a reply.
    """
    if not _DIALOGUE.match(text) or "\n\nAssistant:" not in text:
        return None
    _, *parts = _TURN.split(text)
    found = [{"from": who.lower(), "value": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]
    return found[:-1] if found[-1] == {"from": "assistant", "value": ""} else found
