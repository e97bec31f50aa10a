"""Reads and writes the schema-checked Parquet tables of `larpo_lib.schemas`, whole or a few rows at a time."""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from larpo_lib.errors import ArtifactError, DataError
from larpo_lib.row_groups import RowGroups, first_of_equals, runs
from larpo_lib.schemas import SCHEMA_VERSION, SCHEMAS

Row = dict[str, Any]
Counts = dict[str, int]
"""How many of what, such as rows that were dropped."""

ROW_GROUP = 1024
"""Rows of a table that are written, and read, at one time."""


def write_table(
    path: Path,
    schema: str,
    rows: Iterable[Mapping[str, Any]],
    counts: Counts | None = None,
    *,
    columns: pa.DataType | None = None,
) -> int:
    """Write `rows` as one Parquet file, and return their number. The same rows give the same bytes.

    Args:
        path: the file.
        schema: of the rows.
        rows: are taken a row group at a time.
        counts: kept in the file, for `concat_tables`.
        columns: of `metadata`: the type of its rows' columns.
    """
    expected = SCHEMAS[schema] if columns is None else SCHEMAS[schema].append(pa.field("columns", columns))
    expected = expected.with_metadata(_metadata(schema, counts))
    written = 0
    with _writer(path, expected) as writer:
        for group in _grouped(rows):
            table = pa.Table.from_pylist([dict(row) for row in group], schema=expected)
            _check_nulls(table, path, written)
            writer.write_table(table)
            written += table.num_rows
    return written


def read_table(path: Path, schema: str, columns: Sequence[str] | None = None) -> list[Row]:
    """All rows of a table; `path` is the Parquet file or an artifact that holds one as `<schema>.parquet`.

    Only `columns` if they are given: token ids take most of the memory, and few readers need them.

    Raises:
        ArtifactError: the file is missing, no Parquet, or of another schema or schema version.
    """
    rows: list[Row] = read_columns(path, schema, columns).to_pylist()
    return rows


def iterate_table(path: Path, schema: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a table one after another, read from the file a row group at a time. Raises as `read_table`."""
    for group in _row_groups(path, schema, columns):
        yield from group.to_pylist()


@dataclass(frozen=True)
class TableRows:
    """The rows of a table, read a row group at a time each time that they are gone through. Raises as `read_table`."""

    path: Path
    schema: str
    columns: Sequence[str] | None = None

    def __iter__(self) -> Iterator[Row]:
        return iterate_table(self.path, self.schema, self.columns)


def read_columns(path: Path, schema: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The same as `read_table`, as Arrow holds it: far smaller than Python's objects."""
    file = _file(path, schema)
    with _reading(file, schema):
        table: pa.Table = _open(file, schema).read(columns)
    return table


def rewards_and_lengths(path: Path, scored: Callable[[str], str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reward and characters of every response of a `ranked` table; its texts are read a row group at a time.

    Args:
        path: of the table.
        scored: from a response to what its reward is of, whose characters count.
    """
    rewards, lengths = [np.empty(0)], [np.empty(0)]
    for group in _row_groups(path, "ranked", ["reward", "response"]):
        rewards.append(group["reward"].to_numpy())
        lengths.append(np.array([len(scored(text)) for text in group["response"].to_pylist()], dtype=np.float64))
    return np.concatenate(rewards), np.concatenate(lengths)


def concat_tables(parts: Collection[Path], schema: str, path: Path) -> Counts:
    """Join tables of one schema into one, in the order given, with the sum of their counts, which is returned.

    The bytes depend on the rows and on that sum, not on how they were spread over `parts`.
    """
    counts: Counter[str] = Counter()
    for file in parts:
        with _open(file, schema) as part:
            counts.update(json.loads(part.schema_arrow.metadata.get(_COUNTS, b"{}")))
    expected = SCHEMAS[schema].with_metadata(_metadata(schema, counts))
    waiting = expected.empty_table()
    with _writer(path, expected) as writer:
        for file in parts:
            for group in _row_groups(file, schema, None):
                waiting = pa.concat_tables([waiting, group.replace_schema_metadata(expected.metadata)])
                while waiting.num_rows >= ROW_GROUP:
                    writer.write_table(waiting.slice(0, ROW_GROUP).combine_chunks())
                    waiting = waiting.slice(ROW_GROUP)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks())
    return dict(counts)


class PromptTable(Mapping[str, list[Row]]):
    """The rows of each prompt of a table, read from the file when they are asked for; prompts by rising prompt_id.

    In memory are the prompts' ids and places and a few row groups. Tables that steps write hold the rows of a prompt
    together and prompts in order, so that going through them reads each row group once; of others see `RowGroups`.

    Args:
        path: Parquet file, or artifact that holds one as `<schema>.parquet`.
        schema: with a column `prompt_id`.
        columns: of the rows; all of them if not given.

    Raises:
        ArtifactError: as `read_table`; also when rows are read.
    """

    def __init__(self, path: Path, schema: str, columns: Sequence[str] | None = None) -> None:
        self._path = _file(path, schema)
        self._schema = schema
        self._parquet = _open(self._path, schema)
        self.num_rows = self._parquet.metadata.num_rows
        # As Arrow and numpy hold them: as Python's objects, places would take several times as much memory.
        starts, ids = runs(group.column("prompt_id") for group in _row_groups(self._path, schema, ["prompt_id"]))
        order = pc.sort_indices(ids).to_numpy()
        self._starts, self._stops = starts[order], np.append(starts[1:], self.num_rows)[order]
        sorted_ids = ids.take(order)
        first = first_of_equals(sorted_ids)
        self._ids = sorted_ids.take(first)
        self._runs = np.append(first, len(order))
        self._groups = RowGroups(self._parquet, columns)

    def __getitem__(self, prompt_id: str) -> list[Row]:
        """The prompt's rows in the file's order."""
        with _reading(self._path, self._schema):
            return [row for start, stop in self._places(prompt_id) for row in self._groups.rows(start, stop)]

    def __contains__(self, prompt_id: object) -> bool:
        return isinstance(prompt_id, str) and self._find(prompt_id) is not None

    def __iter__(self) -> Iterator[str]:
        return (prompt_id.as_py() for prompt_id in self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def column_type(self, name: str) -> pa.DataType:
        """The type of a column."""
        return self._parquet.schema_arrow.field(name).type

    def row_numbers(self, prompt_id: str) -> list[int]:
        """The numbers of the prompt's rows in the file, for messages."""
        return [number for start, stop in self._places(prompt_id) for number in range(start, stop)]

    def _places(self, prompt_id: str) -> list[tuple[int, int]]:
        """First row, and row behind the last, of each run of the prompt's rows."""
        number = self._find(prompt_id)
        if number is None:
            raise KeyError(prompt_id)
        runs = slice(self._runs[number], self._runs[number + 1])
        return list(zip(self._starts[runs].tolist(), self._stops[runs].tolist(), strict=True))

    def _find(self, prompt_id: str) -> int | None:
        number = bisect_left(range(len(self)), prompt_id, key=lambda i: self._ids[i].as_py())
        return number if number < len(self) and self._ids[number].as_py() == prompt_id else None


_COUNTS = b"larpo.counts"


def _row_groups(path: Path, schema: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    file = _file(path, schema)
    parquet = _open(file, schema)
    for number in range(parquet.num_row_groups):
        with _reading(file, schema):
            group = parquet.read_row_group(number, columns=columns)
        yield group


def _file(path: Path, schema: str) -> Path:
    return path / f"{schema}.parquet" if path.is_dir() else path


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Leaves no file behind where writing fails."""
    try:
        # Of a file: a path with a colon would be taken for a URI.
        with (
            pa.OSFile(str(path), "wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            yield writer
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _grouped(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    group: list[Mapping[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def _reading(file: Path, schema: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{file}: no such file", remedy=f"Use an artifact that contains {schema}.parquet") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{file}: cannot be read as Parquet: {error}", remedy="Delete the artifact and make it again"
        ) from None


def _open(file: Path, schema: str) -> pq.ParquetFile:
    """The file, its schema checked; its rows are not read yet."""
    with _reading(file, schema):
        parquet = pq.ParquetFile(pa.OSFile(str(file)), page_checksum_verification=True)
        arrow = parquet.schema_arrow
        metadata = {key.decode(): value.decode() for key, value in (arrow.metadata or {}).items()}
    found, version = metadata.get("larpo.schema", "none"), metadata.get("larpo.version", "none")
    if found != schema:
        raise ArtifactError(
            f"{file}: contains '{found}', not '{schema}'", remedy="Use the artifact of the previous step"
        )
    if version != str(SCHEMA_VERSION):
        raise ArtifactError(
            f"{file}: schema version {version}, but this version of larpo reads schema version {SCHEMA_VERSION}",
            remedy="Make the artifact again with this version",
        )
    known = arrow if schema != "metadata" else pa.schema([field for field in arrow if field.name != "columns"])
    if not known.equals(SCHEMAS[schema], check_metadata=False):
        raise ArtifactError(
            f"{file}: the columns {arrow.names} are not those of '{schema}'",
            remedy="Make the artifact again with this version",
        )
    return parquet


def _metadata(schema: str, counts: Mapping[str, int] | None = None) -> dict[bytes, bytes]:
    stated = {b"larpo.schema": schema.encode(), b"larpo.version": str(SCHEMA_VERSION).encode()}
    return stated if not counts else {**stated, _COUNTS: json.dumps(counts, sort_keys=True).encode()}


def _check_nulls(table: pa.Table, path: Path, before: int) -> None:
    for field, column in zip(table.schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            row = before + next(i for i, value in enumerate(column) if not value.is_valid)
            raise DataError("is null", path=path, row=row, field=field.name)
