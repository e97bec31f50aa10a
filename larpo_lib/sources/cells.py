"""One value of a raw row: checked and converted, with the place it stands at in every error."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from larpo_lib.errors import DataError
from larpo_lib.schemas import LENGTH, STOP, UNKNOWN, Messages
from larpo_lib.sources import dialogues

_ROLES = {role: role for role in ("system", "user", "assistant", "tool")} | {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "observation": "tool",
}
"""Roles of chat messages, and the words that ShareGPT and LLaMA-Factory have for them."""

_NAMES = {"role": ("role", "from"), "content": ("content", "value")}
_CALLS = ("tool_calls", "function_call")
_ENDS = dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence"), STOP) | dict.fromkeys(
    ("length", "max_tokens", "max_length"), LENGTH
)


@dataclass
class Notes:
    """What was done to values on the way.

    Attributes:
        counts: in how many rows, by what was done.
        not_used: in how many rows a field held a value that nothing was made of.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    not_used: Counter[str] = dataclasses.field(default_factory=Counter)

    def update(self, other: Notes) -> None:
        """Add another one's."""
        self.counts.update(other.counts)
        self.not_used.update(other.not_used)


@dataclass(frozen=True)
class Cell:
    """A value and its place: the source, the row's number and the field.

    Every method raises DataError where the value is not what it asks for.
    """

    origin: str
    row: int
    field: str
    value: Any
    notes: Notes = dataclasses.field(default_factory=Notes, compare=False, repr=False)

    def error(self, problem: str, remedy: str = "") -> DataError:
        """The error that `problem` is at this place."""
        return DataError(problem, path=self.origin, row=self.row, field=self.field, remedy=remedy)

    def at(self, key: str | int) -> Cell:
        """A part of the value; of a mapping None where it has no such key."""
        if isinstance(key, int):
            return Cell(self.origin, self.row, f"{self.field}[{key}]", self.value[key], self.notes)
        return Cell(self.origin, self.row, f"{self.field}.{key}", self.value.get(key), self.notes)

    @property
    def pattern(self) -> str:
        """The field without the numbers of list items: what its like are called in all rows."""
        return re.sub(r"\[\d+\]", "[]", self.field)

    @property
    def blank(self) -> bool:
        """Whether there is nothing: null, white space, or an empty list or mapping, also written as JSON."""
        if isinstance(self.value, str):
            return self.value.strip() in ("", "[]", "{}", "null")
        if isinstance(self.value, float):
            return math.isnan(self.value)  # what pandas makes of nothing
        return self.value is None or (isinstance(self.value, list | dict) and not self.value)

    def text(self) -> str:
        """Text with at least one character that is not white space."""
        if self.value is None:
            raise self.error("is missing or null")
        if not isinstance(self.value, str):
            raise self.error(f"is of type {type(self.value).__name__}, not text")
        if not self.value.strip():
            raise self.error("is empty")
        try:
            self.value.encode()
        except UnicodeEncodeError:
            raise self.error("contains half of a surrogate pair, which is not valid text") from None
        return self.value

    def number(self) -> float:
        """A finite number; also as text, which is all that CSV has, or as true (1) and false (0)."""
        try:
            number = float(_TRUTH.get(self.value.lower(), self.value) if isinstance(self.value, str) else self.value)
        except (TypeError, ValueError, OverflowError):
            raise self.error(
                f"is {self.value!r}, not a number" if self.value is not None else "is missing or null"
            ) from None
        if not math.isfinite(number):
            raise self.error(f"is {number}, not a finite number")
        return number

    def items(self) -> list[Cell]:
        """The elements of a list that has at least one; also of one that a CSV file holds as JSON."""
        whole = self._unwritten() if isinstance(self.value, str) and dialogues.like_list(self.value) else self
        if not isinstance(whole.value, list):
            raise self.error("is missing or null" if self.value is None else "is not a list")
        if not whole.value:
            raise self.error("is an empty list")
        return [whole.at(index) for index in range(len(whole.value))]

    def conversation(self) -> Messages | None:
        """The messages, where the value is a conversation; None where it is plain text.

        A conversation is a list of messages, one message, either of them as JSON in a cell of text, or a text in turns
        of `Human:` and `Assistant:`. A system message that is empty is left out.
        """
        whole = self._read() if isinstance(self.value, str) else self
        if is_message(whole.value):
            items = [whole]
        elif isinstance(whole.value, list):
            items = whole.items()
        else:
            return None
        return [message for item in items if (message := _message(item)) is not None]

    def finish_reason(self) -> str:
        """How a response ended: `stop`, `length`, or `unknown` where nothing is said."""
        if self.blank:
            return UNKNOWN
        if (word := self.text().strip().lower()) not in _ENDS and word != UNKNOWN:
            raise self.error(
                f"is {self.value!r}, which is not a known finish reason", f"Known: {', '.join(_ENDS)}, or null"
            )
        return _ENDS.get(word, UNKNOWN)

    def token_ids(self) -> list[int] | None:
        """Token ids, or None where there are none."""
        if self.blank:
            return None
        found = [item.value for item in self.items()]
        for index, token in enumerate(found):
            if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < 2**31:
                raise self.error(f"contains {token!r} at position {index}, which is not a token id")
        return found

    def reference(self) -> str | None:
        """Text or a number as text; None where there is none."""
        if self.value is None:
            return None
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return str(self.value if isinstance(self.value, int) else self.number())
        return self.text()

    def _read(self) -> Cell:
        """The conversation that a text spells out; the text itself where it is plain."""
        if dialogues.like_messages(self.value):
            return self._unwritten()
        if (turns := dialogues.turns(self.value)) is None:
            return self
        self.notes.counts["dialogues_split"] = 1
        return dataclasses.replace(self, value=turns)

    def _unwritten(self) -> Cell:
        value = dialogues.written_value(self.value)
        if value is None:
            raise self.error(
                "looks like a list or messages, but is not valid JSON", "Write it as JSON, with commas and quotes"
            )
        self.notes.counts["json_cells_read"] = 1
        return dataclasses.replace(self, value=value)


_TRUTH = {"true": "1", "false": "0"}


def is_message(value: Any) -> bool:
    """Whether a value is one chat message rather than a response with its reward."""
    return isinstance(value, dict) and any(value.get(name) is not None for name in _NAMES["role"])


def _message(cell: Cell) -> dict[str, str] | None:
    if not isinstance(cell.value, dict):
        raise cell.error("is not a message", 'Write {"role": ..., "content": ...}')
    role, content = _part(cell, "role"), _part(cell, "content")
    if role.text() not in _ROLES:
        raise role.error(f"is {role.value!r}", f"Known roles: {', '.join(_ROLES)}")
    for name in cell.value.keys() - {name for names in _NAMES.values() for name in names}:
        other = cell.at(name)
        if other.blank:
            continue
        if name in _CALLS:
            raise other.error("contains tool calls, which cannot be shown to the policy", "Remove such rows")
        cell.notes.not_used[other.pattern] = 1
    if _ROLES[role.value] == "system" and content.blank:
        cell.notes.counts["empty_system_messages_dropped"] = 1
        return None
    return {"role": _ROLES[role.value], "content": content.text()}


def _part(cell: Cell, kind: str) -> Cell:
    """A message's role or content; tables that hold both forms have nulls in the columns of the other one."""
    names = [name for name in _NAMES[kind] if name in cell.value]
    present = [name for name in names if cell.value[name] is not None]
    if len(present) == 2 and cell.value[present[0]] != cell.value[present[1]]:
        raise cell.error(f"has both {present[0]} and {present[1]}, with different values", "Remove one of them")
    return cell.at((present or names or [kind])[0])
