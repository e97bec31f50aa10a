"""Finds a source's columns, and reads prompts, references, demonstrations and scored responses out of its rows.

Columns are found among their usual names; `ColumnsConfig` names them where they have others. Every reader raises
DataError: a column is missing, or a row holds no usable value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from larpo_lib.config.sections import ColumnsConfig
from larpo_lib.errors import DataError
from larpo_lib.schemas import Messages
from larpo_lib.sources.cells import Cell, ending_with_user
from larpo_lib.sources.reading import Raw, RawRow

# The usual names, the likeliest first. `prompt` stands before `messages`, which often ends with the reply.
_CONVERSATION = ("messages", "conversations")
_PROMPT = ("prompt", "context_messages", *_CONVERSATION, "question", "instruction", "problem", "query", "input")
_REFERENCE = ("answer", "reference", "target", "ground_truth", "solution")
_RESPONSE = ("response", "completion", "output")
_DEMONSTRATION = (*_RESPONSE, "solution", "answer", "chosen")
_LIST = ("candidates", "responses", "completions")
_ITEM_RESPONSE = (*_RESPONSE, "text", "content")
_REWARDS = ("rewards", "scores")
_REWARD = ("reward", "score", "overall_score")
_GENERATOR = ("generator", "model", "policy")

ValueT = TypeVar("ValueT")
Reader = Callable[[RawRow], ValueT]


class Scored(NamedTuple):
    """A response, its reward, and the name of what generated it."""

    response: str
    reward: float
    policy: str


def prompt_reader(raw: Raw, columns: ColumnsConfig) -> Reader[Messages]:
    """Reads a row's prompt: text, or messages that end with the user's."""
    column = _need(raw, columns.prompt or columns.messages, _PROMPT, "prompt")
    # Alpaca's convention: `input` is what the instruction is about, and may be empty.
    joined = column == "instruction" and "input" in raw.columns and not columns.prompt

    def read(row: RawRow) -> Messages:
        messages = _cell(raw, row, column).prompt()
        if joined and row.values.get("input"):
            messages[-1]["content"] += "\n\n" + _cell(raw, row, "input").text()
        return messages

    return read


def reference_reader(raw: Raw, columns: ColumnsConfig) -> Reader[str | None]:
    """Reads a row's reference answer; None where the source or the row has none."""
    column = _find(raw, columns.reference, [name for name in _REFERENCE if name != columns.response], "reference")
    return lambda row: _cell(raw, row, column).reference() if column else None


def demonstration_reader(raw: Raw, columns: ColumnsConfig) -> Reader[tuple[Messages, str]]:
    """Reads a row's prompt and the response to imitate.

    That is a conversation split before the assistant's last message, if there is one and no setting names other
    columns; else a prompt and a column with the response.
    """
    usual = () if columns.prompt or columns.response else _CONVERSATION
    conversation = None if columns.response else _find(raw, columns.messages, usual, "messages")
    if conversation:
        return lambda row: _exchange(_cell(raw, row, conversation))
    prompt = prompt_reader(raw, columns)
    response = _need(raw, columns.response, _DEMONSTRATION, "response")
    return lambda row: (prompt(row), _cell(raw, row, response).response())


def list_reader(raw: Raw, columns: ColumnsConfig) -> Reader[tuple[Messages, list[Scored]]]:
    """Reads a row's prompt and its scored responses: a whole list, a pair, or one.

    A list is a column of objects with a response and a reward each, or of texts with their rewards in another column.
    Of a pair, `chosen` has reward 1 and `rejected` 0. One response has its reward in another column.
    """
    listed = _find(raw, columns.responses, () if columns.response else _LIST, "responses")
    if listed:
        prompt, read = prompt_reader(raw, columns), _whole_list(raw, columns, listed)
        return lambda row: (prompt(row), read(row))
    if columns.response is None and {"chosen", "rejected"} <= set(raw.columns):
        return _pair(raw, columns)
    prompt = prompt_reader(raw, columns)
    response = _need(raw, columns.response, _RESPONSE, "response")
    reward = _need(raw, columns.rewards, (*_REWARD, *_REWARDS), "rewards")

    def read_one(row: RawRow) -> tuple[Messages, list[Scored]]:
        text, number = _cell(raw, row, response).response(), _cell(raw, row, reward).number()
        return prompt(row), [Scored(text, number, _generator(raw, row.number, row.values))]

    return read_one


def _whole_list(raw: Raw, columns: ColumnsConfig, listed: str) -> Reader[list[Scored]]:
    def item(cell: Cell) -> Scored:
        response = columns.response or _first(_ITEM_RESPONSE, cell.value) or "response"
        reward = columns.rewards or _first(_REWARD, cell.value) or "reward"
        return Scored(
            cell.at(response).response(), cell.at(reward).number(), _generator(raw, cell.row, cell.value, cell.field)
        )

    def read(row: RawRow) -> list[Scored]:
        items = _cell(raw, row, listed).items()
        if all(isinstance(cell.value, dict) for cell in items):
            return [item(cell) for cell in items]
        rewards = _cell(raw, row, _need(raw, columns.rewards, _REWARDS, "rewards"))
        numbers = [cell.number() for cell in rewards.items()]
        if len(numbers) != len(items):
            raise rewards.error(f"holds {len(numbers)} rewards for {len(items)} responses")
        return [Scored(cell.response(), number, raw.name) for cell, number in zip(items, numbers, strict=True)]

    return read


def _pair(raw: Raw, columns: ColumnsConfig) -> Reader[tuple[Messages, list[Scored]]]:
    prompt_column = _find(raw, columns.prompt or columns.messages, _PROMPT, "prompt")
    prompt = prompt_reader(raw, columns) if prompt_column else None

    def read(row: RawRow) -> tuple[Messages, list[Scored]]:
        chosen, rejected = _cell(raw, row, "chosen"), _cell(raw, row, "rejected")
        scored = [Scored(chosen.response(), 1.0, raw.name), Scored(rejected.response(), 0.0, raw.name)]
        if prompt:
            return prompt(row), scored
        messages, _ = _exchange(chosen)
        if _exchange(rejected)[0] != messages:
            raise rejected.error("answers another prompt than 'chosen'", "Name the prompt's column in columns.prompt")
        return messages, scored

    return read


def _exchange(cell: Cell) -> tuple[Messages, str]:
    before, response = cell.exchange()
    return ending_with_user(before, cell), response


def _generator(raw: Raw, row: int, values: dict[str, Any], place: str = "") -> str:
    column = _first(_GENERATOR, values)
    if column is None or values[column] is None:
        return raw.name
    return Cell(raw.origin, row, f"{place}.{column}" if place else column, values[column]).text()


def _cell(raw: Raw, row: RawRow, column: str) -> Cell:
    return Cell(raw.origin, row.number, column, row.values.get(column))


def _first(usual: Sequence[str], present: Iterable[str]) -> str | None:
    present = set(present)
    return next((name for name in usual if name in present), None)


def _find(raw: Raw, named: str | None, usual: Sequence[str], setting: str) -> str | None:
    """The named column, which must be there, or else the first of the usual ones that is."""
    if named is not None and named not in raw.columns:
        raise DataError(f"has no column '{named}'; {_seen(raw)}", path=raw.origin, remedy=f"Change columns.{setting}")
    return named or _first(usual, raw.columns)


def _need(raw: Raw, named: str | None, usual: Sequence[str], setting: str) -> str:
    column = _find(raw, named, usual, setting)
    if column is None:
        raise DataError(
            f"has none of the columns {', '.join(usual)}; {_seen(raw)}",
            path=raw.origin,
            remedy=f"Name one in columns.{setting}",
        )
    return column


def _seen(raw: Raw) -> str:
    return f"it has {', '.join(raw.columns)}"
