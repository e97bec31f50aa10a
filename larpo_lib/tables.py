"""Reads and writes the schema-checked Parquet tables of `larpo_lib.schemas`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from larpo_lib.errors import ArtifactError, DataError
from larpo_lib.schemas import SCHEMA_VERSION, SCHEMAS

Row = dict[str, Any]


def write_table(path: Path, schema: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` as one Parquet file. The same rows give the same bytes."""
    expected = SCHEMAS[schema].with_metadata(_metadata(schema))
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=expected)
    _check_nulls(table, path)
    pq.write_table(table, path, compression="zstd", row_group_size=4096, write_page_checksum=True)


def read_table(path: Path, schema: str, columns: Sequence[str] | None = None) -> list[Row]:
    """All rows of a table; `path` is the Parquet file or an artifact that holds one as `<schema>.parquet`.

    Only `columns` if they are given: token ids take most of the memory, and few readers need them.

    Raises:
        ArtifactError: the file is missing, no Parquet, or of another schema or schema version.
    """
    file = path / f"{schema}.parquet" if path.is_dir() else path
    table = _open(file, schema)
    rows: list[Row] = (table if columns is None else table.select(list(columns))).to_pylist()
    return rows


def concat_tables(parts: Iterable[Path], schema: str, path: Path) -> int:
    """Join tables of one schema into one, in the order given, a row group at a time; returns the number of rows."""
    expected = SCHEMAS[schema].with_metadata(_metadata(schema))
    rows = 0
    with pq.ParquetWriter(path, expected, compression="zstd", write_page_checksum=True) as writer:
        for part in parts:
            table = _open(part, schema).replace_schema_metadata(expected.metadata)
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _open(file: Path, schema: str) -> pa.Table:
    try:
        table = pq.read_table(file, page_checksum_verification=True)
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        columns = table.schema.names
    except FileNotFoundError:
        raise ArtifactError(
            f"{file}: no such file", remedy=f"Expected an artifact that holds {schema}.parquet"
        ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{file}: cannot be read as Parquet: {error}", remedy="Delete the artifact and make it again"
        ) from None
    found, version = metadata.get("larpo.schema", "none"), metadata.get("larpo.version", "none")
    if found != schema:
        raise ArtifactError(f"{file}: holds '{found}', not '{schema}'", remedy="Give the artifact of the step before")
    if version != str(SCHEMA_VERSION):
        raise ArtifactError(
            f"{file}: schema version {version}, but this larpo reads version {SCHEMA_VERSION}",
            remedy="Make the artifact again with this version",
        )
    if not table.schema.equals(SCHEMAS[schema], check_metadata=False):
        raise ArtifactError(
            f"{file}: columns {columns} are not those of '{schema}'",
            remedy="Make the artifact again with this version",
        )
    return table


def _metadata(schema: str) -> dict[bytes, bytes]:
    return {b"larpo.schema": schema.encode(), b"larpo.version": str(SCHEMA_VERSION).encode()}


def _check_nulls(table: pa.Table, path: Path) -> None:
    for field, column in zip(table.schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            row = next(i for i, value in enumerate(column) if not value.is_valid)
            raise DataError("is null", path=path, row=row, field=field.name)
