"""One value of a raw row: checked and converted, with the place it stands at in every error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from larpo_lib.errors import DataError
from larpo_lib.schemas import Messages

_ROLES = {role: role for role in ("system", "user", "assistant", "tool")} | {"human": "user", "gpt": "assistant"}
"""Roles of chat messages, and ShareGPT's words for them."""


@dataclass(frozen=True)
class Cell:
    """A value and its place: the source, the row's number and the field.

    Every method raises DataError where the value is not what it asks for.
    """

    origin: str
    row: int
    field: str
    value: Any

    def error(self, problem: str, remedy: str = "") -> DataError:
        """The error that `problem` is at this place."""
        return DataError(problem, path=self.origin, row=self.row, field=self.field, remedy=remedy)

    def at(self, key: str | int) -> Cell:
        """A part of the value; of a mapping None where it has no such key."""
        if isinstance(key, int):
            return Cell(self.origin, self.row, f"{self.field}[{key}]", self.value[key])
        return Cell(self.origin, self.row, f"{self.field}.{key}", self.value.get(key))

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
            raise self.error("holds half of a surrogate pair, which is no text") from None
        return self.value

    def number(self) -> float:
        """A finite number; also as text, which is all that CSV has, or as true (1) and false (0)."""
        try:
            number = float(self.value)
        except (TypeError, ValueError, OverflowError):
            raise self.error(
                f"is {self.value!r}, not a number" if self.value is not None else "is missing or null"
            ) from None
        if not math.isfinite(number):
            raise self.error(f"is {number}, not a finite number")
        return number

    def items(self) -> list[Cell]:
        """The elements of a list that has at least one."""
        if not isinstance(self.value, list):
            raise self.error("is missing or null" if self.value is None else "is not a list")
        if not self.value:
            raise self.error("is an empty list")
        return [self.at(index) for index in range(len(self.value))]

    def messages(self) -> Messages:
        """A conversation as role and content, also from ShareGPT's from and value."""
        return [_message(item) for item in self.items()]

    def prompt(self) -> Messages:
        """A conversation that ends with the user's message; plain text is one such message."""
        if not isinstance(self.value, list):
            return [{"role": "user", "content": self.text()}]
        return ending_with_user(self.messages(), self)

    def response(self) -> str:
        """Plain text, or the assistant's message at the end of a conversation."""
        return self.exchange()[1] if isinstance(self.value, list) else self.text()

    def exchange(self) -> tuple[Messages, str]:
        """A conversation split into what comes before the assistant's last message, and that message."""
        *before, last = self.messages()
        if last["role"] != "assistant":
            raise self.error(f"ends with a message from '{last['role']}', not from 'assistant'")
        return before, last["content"]

    def reference(self) -> str | None:
        """Text or a number as text; None where there is none."""
        if self.value is None:
            return None
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return str(self.value if isinstance(self.value, int) else self.number())
        return self.text()


def ending_with_user(messages: Messages, place: Cell) -> Messages:
    """`messages` if they are a prompt, that is, end with the user's."""
    if not messages or messages[-1]["role"] != "user":
        found = (
            f"ends with a message from '{messages[-1]['role']}'" if messages else "holds no message before the reply"
        )
        raise place.error(f"{found}, not from 'user'", "Name the column that holds the prompt in columns.prompt")
    return messages


def _message(cell: Cell) -> dict[str, str]:
    if not isinstance(cell.value, dict):
        raise cell.error("is not a message", 'Write {"role": ..., "content": ...}')
    role = cell.at("from" if "from" in cell.value else "role")
    content = cell.at("value" if "from" in cell.value else "content")
    if role.text() not in _ROLES:
        raise role.error(f"is {role.value!r}", f"Known roles: {', '.join(_ROLES)}")
    return {"role": _ROLES[role.value], "content": content.text()}
