"""Raw rows from where users keep them: files, plain or compressed, and data sets of the Hugging Face hub."""

import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from larpo_lib.errors import DataError
from larpo_lib.parsing import parse_json

_COMPRESSIONS = (".gz", ".xz", ".zst")
_LONGEST_CSV_FIELD = 2**31 - 1
_ROWS = 1024
"""Rows of a table that are read at one time."""


@dataclass(frozen=True)
class RawRow:
    """One row as it stands in its source.

    Attributes:
        number: 1-based; the line on which it starts in .jsonl and .csv files, else its position.
        values: column -> value; a column may be absent.
        file: its name, where the source has several.
    """

    number: int
    values: dict[str, Any]
    file: str = ""


@dataclass(frozen=True)
class Raw:
    """All rows of a source.

    Attributes:
        origin: the source as the user gave it, for messages.
        name: the source without its place on this machine, for the tables.
        rows: in the source's order; they can be gone through again and again.
        folder: what the names of the rows' files are below.
        files_not_read: names of files that belong to other splits.
    """

    origin: str
    name: str
    rows: Iterable[RawRow]
    folder: str = ""
    files_not_read: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Names of the columns that any row has, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))

    def place(self, row: RawRow) -> str:
        """Where a row stands, for messages."""
        return f"{self.folder}/{row.file}" if row.file else self.origin


@dataclass(frozen=True)
class Streamed:
    """Rows that are read from their place whenever they are gone through, so that few of them are in memory.

    Attributes:
        read: begins to read.
    """

    read: Callable[[], Iterator[RawRow]]

    def __iter__(self) -> Iterator[RawRow]:
        return self.read()


def read_file(path: Path, origin: str) -> Raw:
    """All rows of a file, in memory. Arguments and errors as of `file_rows`."""
    return Raw(origin, path.name, [*file_rows(path, origin)])


def file_rows(path: Path, origin: str) -> Iterator[RawRow]:
    """Read every row of a .jsonl, .json (an array), .csv or .parquet file, plain or as .gz, .xz or .zst.

    One row after another is read, but for an array, which is read as a whole.

    Args:
        path: the local file.
        origin: what the user gave for it.

    Raises:
        DataError: the file is missing, empty, damaged, not UTF-8, or of an unknown kind.
    """
    compression = _compression(path)
    parse = _FORMATS.get(Path(path.name.removesuffix(compression)).suffix)
    if parse is None:
        raise DataError("has an unknown file type", path=origin, remedy=f"Known types: {known()}")
    try:
        with _open(path, compression) as stream:
            yield from _some(parse(stream, origin), origin)
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error, pa.ArrowException) as error:
        raise DataError(
            f"cannot be read: {error}", path=origin, remedy="Check that the file is complete and readable"
        ) from error


def is_known(path: Path) -> bool:
    """Whether a file's name says that it is of a kind that `read_file` reads."""
    return Path(path.name.removesuffix(_compression(path))).suffix in _FORMATS


def known() -> str:
    """The kinds of files, for messages."""
    return f"{', '.join(_FORMATS)}, each also with {', '.join(_COMPRESSIONS)}"


def read_saved(path: Path, origin: str, name: str, split: str) -> Raw:
    """Read a directory that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; of the latter one split.

    Raises:
        DataError: it is damaged, or has no such split; also when rows are read.
    """
    import datasets

    @contextmanager
    def reading() -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, pa.ArrowException) as error:
            raise DataError(f"cannot be read: {error}", path=origin, remedy="Save the data set again") from error

    with reading():
        found = datasets.load_from_disk(str(path))
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise DataError(f"has the splits {', '.join(found)}, not '{split}'", path=origin, remedy="Set split")
        found = found[split]
    return Raw(origin, name, _of_dataset(found, origin, reading))


def read_dataset(source: str, split: str) -> Raw:
    """Read a split of a data set, "org/name" or "org/name:config", by the `datasets` library.

    Raises:
        DataError: the hub cannot be reached, or has no such data set, configuration or split; also when rows are read.
    """
    import datasets

    @contextmanager
    def reading() -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise DataError(
                f"split '{split}' cannot be loaded: {error}",
                path=source,
                remedy="Check its name, the split and the network (HF_ENDPOINT, HF_TOKEN), or use a local file",
            ) from error

    name, _, configuration = source.partition(":")
    with reading():
        found = datasets.load_dataset(name, configuration or None, split=split)
    return Raw(source, source, _of_dataset(found, source, reading))


def _of_dataset(found: Any, origin: str, reading: Callable[[], AbstractContextManager[None]]) -> Streamed:
    """The rows of a `datasets.Dataset`."""

    def rows() -> Iterator[RawRow]:
        for start in range(0, len(found), _ROWS):
            with reading():
                some = found.select(range(start, min(start + _ROWS, len(found)))).to_list()
            yield from _numbered(some, start + 1)

    return Streamed(lambda: _some(rows(), origin))


def _some(rows: Iterator[RawRow], origin: str) -> Iterator[RawRow]:
    """The rows, of which there have to be some."""
    first = next(rows, None)
    if first is None:
        raise DataError("contains no rows", path=origin, remedy="Use a source with at least one row")
    yield first
    yield from rows


def _numbered(rows: Iterable[dict[str, Any]], first: int = 1) -> Iterator[RawRow]:
    return (RawRow(number, values) for number, values in enumerate(rows, start=first))


def _compression(path: Path) -> str:
    return path.suffix if path.suffix in _COMPRESSIONS else ""


def _open(path: Path, compression: str) -> io.BufferedIOBase:
    if compression == ".gz":
        return gzip.open(path)
    if compression == ".xz":
        return lzma.open(path)
    if compression == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _lines(stream: io.BufferedIOBase, origin: str) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        yield _decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, origin, number)


def _decode(data: bytes, origin: str, row: int | None = None) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not valid UTF-8 (byte {error.start + 1})",
            path=origin,
            row=row,
            remedy="Convert it, for example with iconv",
        ) from None


def _jsonl(stream: io.BufferedIOBase, origin: str) -> Iterator[RawRow]:
    for number, line in enumerate(_lines(stream, origin), start=1):
        if line.strip():
            yield RawRow(number, _object(_json(line.rstrip(), origin, number), origin, number))


def _json_array(stream: io.BufferedIOBase, origin: str) -> Iterator[RawRow]:
    text = _decode(stream.read().removeprefix(b"\xef\xbb\xbf"), origin)
    values = _json(text, origin) if text.strip() else []
    if not isinstance(values, list):
        raise DataError(
            "is JSON, but not an array of rows", path=origin, remedy="Write [{...}, ...], or rename the file to .jsonl"
        )
    for number, value in enumerate(values, start=1):
        yield RawRow(number, _object(value, origin, number))


def _json(text: str, origin: str, row: int | None = None) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if row is not None else f"line {error.lineno}, column {error.colno}"
        remedy = (
            "Fix or remove the line" if row is not None else "If the file has one object per line, rename it to .jsonl"
        )
        raise DataError(f"broken JSON at {place}: {error.msg}", path=origin, row=row, remedy=remedy) from None
    except ValueError as error:  # numbers of thousands of digits, very deep nesting
        raise DataError(f"JSON cannot be read: {error}", path=origin, row=row) from None


def _object(value: Any, origin: str, row: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError("is not a JSON object", path=origin, row=row, remedy='Write {"column": value, ...}')
    return value


def _csv(stream: io.BufferedIOBase, origin: str) -> Iterator[RawRow]:
    limit = csv.field_size_limit(_LONGEST_CSV_FIELD)  # the default refuses responses over 128 KiB
    try:
        reader = csv.reader(_lines(stream, origin), strict=True)
        header = next(reader, [])
        if len(set(header)) != len(header):
            raise DataError(f"two columns have the same name: {header}", path=origin, row=1)
        start = reader.line_num + 1
        for fields in reader:
            if len(fields) not in (0, len(header)):
                raise DataError(f"has {len(fields)} fields, but the header has {len(header)}", path=origin, row=start)
            if fields:
                yield RawRow(start, {name: field or None for name, field in zip(header, fields, strict=True)})
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"broken CSV: {error}", path=origin, row=reader.line_num) from None
    finally:
        csv.field_size_limit(limit)


def _parquet(stream: io.BufferedIOBase, origin: str) -> Iterator[RawRow]:  # noqa: ARG001 - the readers share one signature
    file = stream if isinstance(getattr(stream, "raw", None), io.FileIO) else pa.BufferReader(stream.read())
    batches = pq.ParquetFile(file).iter_batches(_ROWS)
    return _numbered(row for batch in batches for row in batch.to_pylist())


_FORMATS: dict[str, Callable[[io.BufferedIOBase, str], Iterator[RawRow]]] = {
    ".jsonl": _jsonl,
    ".json": _json_array,
    ".csv": _csv,
    ".parquet": _parquet,
}
