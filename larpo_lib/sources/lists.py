"""Reads responses whose rewards are known out of a source's rows: whole lists, pairs, or one response a row."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from larpo_lib.schemas import UNKNOWN, Messages
from larpo_lib.sources.cells import Cell, is_message
from larpo_lib.sources.columns import CHOSEN, FINISH_REASON, RESPONSE, prompts_of
from larpo_lib.sources.merging import Merge, Scored, first_rewards, stated_orders
from larpo_lib.sources.reading import RawRow
from larpo_lib.sources.table import Reader, Table

_REJECTED = ("rejected", "rejected_response")
_LIST = ("candidates", "responses", "completions")
_ITEM_RESPONSE = (*RESPONSE, "text", "content")
_REWARDS = ("rewards", "scores")
_REWARD = ("reward", "score", "overall_score", "label", "kto_tag", "helpfulness")
_GENERATOR = ("generator", "model", "policy")
_TOKEN_IDS = ("token_ids", "completion_ids")

Ranked = tuple[Messages, list[Scored]]


def list_reader(table: Table) -> tuple[Reader[Ranked], Merge]:
    """What reads a row's prompt and its scored responses (a list, a pair, or one), and what merges a prompt's rows.

    A list is a column of objects with a response and a reward each, or of responses with their rewards in another
    column. Of a pair, the chosen one has reward 1 and the rejected one, or each of several, 0. One response has its
    reward in another column. How a response ended and its token ids stand beside it, or are unknown.
    """
    columns = table.columns
    listed = table.find("responses", () if columns.response else _LIST, columns.responses)
    if listed is not None:
        return _whole_list(table, listed), first_rewards
    chosen, rejected = columns.chosen or table.first(CHOSEN), columns.rejected or table.first(_REJECTED)
    if columns.response is None and chosen is not None and rejected is not None:
        pairs = _pair(table, table.need("chosen", CHOSEN, chosen), table.need("rejected", _REJECTED, rejected))
        return pairs, stated_orders
    prompts = prompts_of(table)
    response = table.need("response", RESPONSE, columns.response)
    reward = table.need("rewards", (*_REWARD, *_REWARDS), columns.rewards)
    generator = table.find("generator", _GENERATOR)
    how = _Beside(table, "")

    def read(row: RawRow) -> Ranked:
        messages, text = prompts.exchange(row, table.cell(row, response))
        policy = _generator(table, table.cell(row, generator) if generator else None)
        return messages, [Scored(text, table.cell(row, reward).number(), policy, *how(row))]

    return read, first_rewards


class _Beside:
    """Reads how a response ended and its token ids, from the columns of its row.

    Args:
        table: the source.
        whose: what the names of the columns begin with, such as "chosen_".
    """

    def __init__(self, table: Table, whose: str) -> None:
        self._table = table
        columns = table.columns
        ends, ids = [[whose + name for name in names] for names in (FINISH_REASON, _TOKEN_IDS)]
        self._end = table.find("finish_reason", ends, None if whose else columns.finish_reason)
        self._ids = table.find("token_ids", ids, None if whose else columns.token_ids)

    def __call__(self, row: RawRow) -> tuple[str, list[int] | None]:
        """Of the row's one response."""
        end, ids = (self._table.cell(row, name) if name else None for name in (self._end, self._ids))
        return _how(end, ids)

    def of_each(self, row: RawRow, count: int) -> list[tuple[str, list[int] | None]]:
        """Of the row's `count` responses, whose columns hold a list each or nothing."""
        ends = self._items(row, "finish_reason", self._end, count)
        ids = self._items(row, "token_ids", self._ids, count)
        return [_how(*pair) for pair in zip(ends, ids, strict=True)]

    def _items(self, row: RawRow, use: str, column: str | None, count: int) -> list[Any]:
        if column is None or self._table.cell(row, column).blank:
            return [None] * count
        return _as_many(self._table.cell(row, column), use, count)


def _how(end: Cell | None, ids: Cell | None) -> tuple[str, list[int] | None]:
    return end.finish_reason() if end else UNKNOWN, ids.token_ids() if ids else None


def _as_many(cell: Cell, use: str, count: int) -> list[Cell]:
    items = cell.items()
    if len(items) != count:
        raise cell.error(f"contains {len(items)} {use} for {count} responses")
    return items


def _pair(table: Table, chosen: str, rejected: str) -> Reader[Ranked]:
    prompts = prompts_of(table, needed=False)
    how = {column: _Beside(table, f"{column}_") for column in (chosen, rejected)}

    def read(row: RawRow) -> Ranked:
        better, worse = table.cell(row, chosen), table.cell(row, rejected)
        messages, winner = prompts.exchange(row, better)
        if _are_several(worse.value):
            losers = worse.items()
            ends = how[rejected].of_each(row, len(losers))
        else:
            losers, ends = [worse], [how[rejected](row)]
        name = table.raw.name
        found = [Scored(winner, 1.0, name, *how[chosen](row))]
        for loser, end in zip(losers, ends, strict=True):
            other, text = prompts.exchange(row, loser)
            _same_prompt(loser, messages, other, better)
            found.append(Scored(text, 0.0, name, *end))
        return messages, found

    return read


def _are_several(value: Any) -> bool:
    """Whether a cell holds several responses, rather than one conversation, which is a list of messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, str | list) for item in value)


def _same_prompt(place: Cell, messages: Messages, others: Messages, first: Cell) -> None:
    if others != messages:
        raise place.error(
            f"answers a different prompt than '{first.field}'",
            "Pair replies to the same prompt, or drop such rows with invalid = 'drop'",
        )


def _whole_list(table: Table, listed: str) -> Reader[Ranked]:
    prompts = prompts_of(table)
    objects, columns = _Objects(table), _Columns(table)

    def read(row: RawRow) -> Ranked:
        cells = table.cell(row, listed).items()
        read_all = objects if all(objects.holds(cell.value) for cell in cells) else columns
        answers = [(prompts.exchange(row, part.response), part) for part in read_all(row, cells)]
        (messages, _), first = answers[0]
        for (other, _), part in answers[1:]:
            _same_prompt(part.response, messages, other, first.response)
        return messages, [
            Scored(
                text,
                part.reward.number(),
                _generator(table, part.generator),
                *_how(part.end, part.ids),
            )
            for (_, text), part in answers
        ]

    return read


class _Part(NamedTuple):
    """Where a response of a list stands, and what is known of it."""

    response: Cell
    reward: Cell
    generator: Cell | None
    end: Cell | None
    ids: Cell | None


class _Objects:
    """Reads lists whose items are objects that hold a response and what is known of it."""

    def __init__(self, table: Table) -> None:
        columns = table.columns
        self._table = table
        self._usual: dict[str, Sequence[str]] = {
            "response": (columns.response,) if columns.response else _ITEM_RESPONSE,
            "rewards": (columns.rewards,) if columns.rewards else _REWARD,
            "generator": _GENERATOR,
            "finish_reason": (columns.finish_reason,) if columns.finish_reason else FINISH_REASON,
            "token_ids": (columns.token_ids,) if columns.token_ids else _TOKEN_IDS,
        }

    def holds(self, value: Any) -> bool:
        """Whether an item is such an object, rather than text or messages."""
        return isinstance(value, dict) and not (is_message(value) and self._name("rewards", value) is None)

    def __call__(self, row: RawRow, cells: Sequence[Cell]) -> list[_Part]:
        return [self._part(cell) for cell in cells]

    def _part(self, cell: Cell) -> _Part:
        names = {use: self._name(use, cell.value) for use in self._usual}
        for use, name in names.items():
            if name is not None:
                self._table.take(f"{cell.pattern}.{name}", use)
        for name in cell.value.keys() - set(names.values()):
            if not (other := cell.at(name)).blank:
                cell.notes.not_used[other.pattern] = 1
        found = {use: cell.at(name) if name is not None else None for use, name in names.items()}
        return _Part(
            cell.at(names["response"] or self._usual["response"][0]),
            cell.at(names["rewards"] or self._usual["rewards"][0]),
            found["generator"],
            found["finish_reason"],
            found["token_ids"],
        )

    def _name(self, use: str, values: Mapping[str, Any]) -> str | None:
        return next((name for name in self._usual[use] if name in values), None)


class _Columns:
    """Reads lists whose items are the responses; what is known of them stands in lists of other columns."""

    def __init__(self, table: Table) -> None:
        columns = table.columns
        self._table = table
        self._rewards = columns.rewards or table.first(_REWARDS)
        self._ends = columns.finish_reason or table.first([*(f"{name}s" for name in FINISH_REASON), *FINISH_REASON])
        self._ids = columns.token_ids or table.first(_TOKEN_IDS)

    def __call__(self, row: RawRow, cells: Sequence[Cell]) -> list[_Part]:
        rewards = self._table.need("rewards", _REWARDS, self._rewards)
        count = len(cells)
        ends = self._beside(row, "finish_reason", self._ends, count)
        ids = self._beside(row, "token_ids", self._ids, count)
        numbers = self._beside(row, "rewards", rewards, count)
        return [
            _Part(cell, number, None, end, tokens)
            for cell, number, end, tokens in zip(cells, numbers, ends, ids, strict=True)
        ]

    def _beside(self, row: RawRow, use: str, column: str | None, count: int) -> list[Any]:
        if column is None:
            return [None] * count
        self._table.take(column, use)
        return _as_many(self._table.cell(row, column), use, count)


def _generator(table: Table, cell: Cell | None) -> str:
    return table.raw.name if cell is None or cell.value is None else cell.text()
