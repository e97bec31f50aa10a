"""Conversations that are written as text: JSON in a cell of a CSV file, and turns behind the names of who speaks."""

import ast
import re
from typing import Any

from larpo_lib.parsing import parse_json

_LIKE_MESSAGES = re.compile(r"""\s*(?:\[\s*)?\{\s*["'](role|from|content|value)["']\s*:""")
_LIKE_LIST = re.compile(r"\s*\[")
_DIALOGUE = re.compile(r"\s*Human:")
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_HELPSTEER_TURN = re.compile(r"\n<extra_id_1>(User|Assistant)\n")


def like_messages(text: str) -> bool:
    """Whether a text begins as messages do that were written as JSON, or by Python."""
    return bool(_LIKE_MESSAGES.match(text))


def like_list(text: str) -> bool:
    """Whether a text begins as a list does."""
    return bool(_LIKE_LIST.match(text))


def written_value(text: str) -> Any:
    """The value of JSON, or of a list or dict as Python prints it and pandas writes it to CSV; None: neither."""
    try:
        return parse_json(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def turns(text: str) -> list[dict[str, str]] | None:
    """The turns of a text in the form of hh-rlhf or of HelpSteer; None where it is another text.

    hh-rlhf (Bai et al. 2022, arXiv 2204.05862) writes `Human: ...`, an empty line, `Assistant: ...`, and so on, from
    the text's start; HelpSteer2 (Wang et al. 2024, arXiv 2406.08673) `<extra_id_1>Assistant` or `<extra_id_1>User` in a
    line before every turn but the first. White space around a turn is left out; so is a last turn of the assistant that
    is empty, which asks for a reply.
    """
    if _DIALOGUE.match(text) and "\n\nAssistant:" in text:
        _, *parts = _TURN.split(text)
    elif "\n<extra_id_1>Assistant\n" in text:
        parts = ["User", *_HELPSTEER_TURN.split(text)]
    else:
        return None
    found = [{"from": who.lower(), "value": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]
    return found[:-1] if found[-1] == {"from": "assistant", "value": ""} else found
