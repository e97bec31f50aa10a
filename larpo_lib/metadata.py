"""Further columns of the prompts' rows: kept beside the prompts, in a table of their own.

A column has Arrow's type for its values if that gives back each of them as it was read, else it is JSON text. Arrow has
one type for a column: of {"a": 1} and {"b": 2} it would make objects with both keys, and of 1 and 0.5 two fractions.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from larpo_lib.errors import DataError
from larpo_lib.tables import PromptTable, Row, write_table

_FILE = "metadata.parquet"
_JSON = {b"larpo.json": b"true"}
"""Of the field of a column that is JSON text."""


def column_types(rows: Iterable[Row], source: str, named: Collection[str] = ()) -> pa.DataType:
    """The struct type of the rows' `columns`, found from all their values; without fields where no row has any.

    A column whose values neither Arrow nor JSON gives back as they are has no field.

    Args:
        rows: of prompts; those of one source have the same columns.
        source: where they come from, for messages.
        named: columns that somebody asks for by their names.

    Raises:
        DataError: a named column has no field.
    """
    first = next(iter(rows), {})
    if not first.get("columns"):
        return pa.struct([])
    found = [row["columns"] for row in rows]
    fields = {name: _field(name, [values[name] for values in found]) for name in found[0]}
    for name in named:
        if fields[name] is None:
            raise DataError(
                "its values cannot be kept as they are, neither typed nor as JSON",
                path=source,
                field=name,
                remedy="Write them as text, or do not name the column in columns.keep",
            )
    return pa.struct([field for field in fields.values() if field is not None])


def write_metadata(directory: Path, rows: Iterable[Row], columns: pa.DataType) -> None:
    """Write those `columns` of prompts that have a field beside them; nothing where there is none."""
    names, texts = [field.name for field in columns], _texts(columns)
    if names:
        kept = ({**row, "columns": {name: row["columns"][name] for name in names}} for row in rows)
        encoded = ({**row, "columns": _changed(row["columns"], texts, json.dumps)} for row in kept)
        write_table(directory / _FILE, "metadata", encoded, columns=columns)


def kept_columns(prompts: Path) -> list[str]:
    """Names of the columns that an artifact of prompts holds beside them."""
    if not (prompts / _FILE).is_file():
        return []
    return [field.name for field in PromptTable(prompts, "metadata").column_type("columns")]


def as_read(columns: Mapping[str, Any], type_: pa.DataType) -> Row:
    """The values of a row of `metadata` as they were in the source.

    Args:
        columns: the values, as the table holds them.
        type_: of the table's `columns`.
    """
    return _changed(columns, _texts(type_), json.loads)


class KeptColumns(Mapping[str, Row]):
    """The further columns of each prompt's row, as they were in the source, by the prompt's id.

    Args:
        prompts: artifact with `metadata.parquet`.

    Raises:
        ArtifactError: as `PromptTable`.
    """

    def __init__(self, prompts: Path) -> None:
        self._table = PromptTable(prompts, "metadata")
        self._type = self._table.column_type("columns")

    def __getitem__(self, prompt_id: str) -> Row:
        return as_read(self._table[prompt_id][0]["columns"], self._type)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def row_number(self, prompt_id: str) -> int:
        """The number of the prompt's row in the file, for messages."""
        return self._table.row_numbers(prompt_id)[0]


class Asked:
    """The prompts of an artifact, each with the further columns of its row.

    Args:
        prompts: artifact with `prompts.parquet`, and perhaps `metadata.parquet`.

    Raises:
        ArtifactError: as `PromptTable`.
    """

    def __init__(self, prompts: Path) -> None:
        self._prompts = PromptTable(prompts, "prompts")
        self._kept = KeptColumns(prompts) if (prompts / _FILE).is_file() else None

    def of(self, prompt_ids: Sequence[str]) -> Any:
        """The `PromptRow` of each of these prompts, by its id."""
        if self._kept is None:
            return {prompt_id: self._prompts[prompt_id][0] for prompt_id in prompt_ids}
        return {
            prompt_id: {**self._prompts[prompt_id][0], "columns": self._kept[prompt_id]} for prompt_id in prompt_ids
        }


def _field(name: str, values: Sequence[Any]) -> pa.Field | None:
    try:
        array = pa.array(values)
        with pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([pa.field(name, array.type)])):
            pass  # Parquet has all types of Arrow but objects without keys
        if _same(values, array.to_pylist()):
            return pa.field(name, array.type)
        for finer in _finer(values, array.type):
            if _same(values, finer.to_pylist()):
                return pa.field(name, finer.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        pass  # such as values of several types
    try:
        unchanged = all(_same(value, json.loads(json.dumps(value))) for value in values)
    except (TypeError, ValueError):
        unchanged = False
    return pa.field(name, pa.string(), metadata=_JSON) if unchanged else None


def _finer(values: Sequence[Any], type_: pa.DataType) -> list[pa.Array]:
    """The values with nanoseconds, which pandas' times have: Arrow infers microseconds, and cuts them."""
    if pa.types.is_timestamp(type_):
        return [pa.array(values, pa.timestamp("ns", type_.tz))]
    return [pa.array(values, pa.duration("ns"))] if pa.types.is_duration(type_) else []


def _same(read: Any, kept: Any) -> bool:
    """Whether a value, and all in it, is kept with its type and, of an object, with its keys in their order."""
    if isinstance(read, dict) and isinstance(kept, dict):
        return [*read] == [*kept] and _same([*read.values()], [*kept.values()])
    if isinstance(read, list | tuple) and isinstance(kept, list):
        return len(read) == len(kept) and all(map(_same, read, kept))
    nan = read != read and kept != kept  # noqa: PLR0124
    return isinstance(read, type(kept)) and (read == kept or nan)


def _texts(type_: pa.DataType) -> list[str]:
    """Names of the columns that are JSON text."""
    return [field.name for field in type_ if _JSON.items() <= (field.metadata or {}).items()]


def _changed(columns: Mapping[str, Any], names: Sequence[str], change: Callable[[Any], Any]) -> Row:
    """A row's values, those of some columns changed where there are any."""
    changed = {name: change(columns[name]) for name in names if columns[name] is not None}
    return {**columns, **changed}
