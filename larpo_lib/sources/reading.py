"""Raw rows from where users keep them: files, plain or compressed, and data sets of the Hugging Face hub."""

import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from larpo_lib.errors import DataError
from larpo_lib.parsing import parse_json

_COMPRESSIONS = (".gz", ".xz", ".zst")
_LONGEST_CSV_FIELD = 2**31 - 1


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
        rows: in the source's order.
        folder: what the names of the rows' files are below.
        files_not_read: names of files that belong to other splits.
    """

    origin: str
    name: str
    rows: list[RawRow]
    folder: str = ""
    files_not_read: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Names of the columns that any row has, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))

    def place(self, row: RawRow) -> str:
        """Where a row stands, for messages."""
        return f"{self.folder}/{row.file}" if row.file else self.origin


def read_file(path: Path, origin: str) -> Raw:
    """Read every row of a .jsonl, .json (an array), .csv or .parquet file, plain or as .gz, .xz or .zst.

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
            rows = list(parse(stream, origin))
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error, pa.ArrowException) as error:
        raise DataError(
            f"cannot be read: {error}", path=origin, remedy="Check that the file is complete and readable"
        ) from error
    return _raw(origin, path.name, rows)


def is_known(path: Path) -> bool:
    """Whether a file's name says that it is of a kind that `read_file` reads."""
    return Path(path.name.removesuffix(_compression(path))).suffix in _FORMATS


def known() -> str:
    """The kinds of files, for messages."""
    return f"{', '.join(_FORMATS)}, each also with {', '.join(_COMPRESSIONS)}"


def read_saved(path: Path, origin: str, name: str, split: str) -> Raw:
    """Read a directory that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; of the latter one split.

    Raises:
        DataError: it is damaged, or has no such split.
    """
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"cannot be read: {error}", path=origin, remedy="Save the data set again") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise DataError(f"has the splits {', '.join(found)}, not '{split}'", path=origin, remedy="Set split")
        found = found[split]
    return _raw(origin, name, _numbered(found.to_list()))


def read_dataset(source: str, split: str) -> Raw:
    """Read a split of a data set, "org/name" or "org/name:config", by the `datasets` library.

    Raises:
        DataError: the hub cannot be reached, or has no such data set, configuration or split.
    """
    import datasets

    name, _, configuration = source.partition(":")
    try:
        rows = datasets.load_dataset(name, configuration or None, split=split).to_list()
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"split '{split}' cannot be loaded: {error}",
            path=source,
            remedy="Check its name, the split and the network (HF_ENDPOINT, HF_TOKEN), or use a local file",
        ) from error
    return _raw(source, source, _numbered(rows))


def _raw(origin: str, name: str, rows: list[RawRow]) -> Raw:
    if not rows:
        raise DataError("contains no rows", path=origin, remedy="Use a source with at least one row")
    return Raw(origin, name, rows)


def _numbered(rows: list[dict[str, Any]]) -> list[RawRow]:
    return [RawRow(number, values) for number, values in enumerate(rows, start=1)]


def _compression(path: Path) -> str:
    return path.suffix if path.suffix in _COMPRESSIONS else ""


def _open(path: Path, compression: str) -> io.BufferedIOBase:
    if compression == ".gz":
        return gzip.open(path)
    if compression == ".xz":
        return lzma.open(path)
    if compression == ".zst":
        return io.BytesIO(pa.CompressedInputStream(str(path), "zstd").read())
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
    return iter(_numbered(pq.read_table(pa.BufferReader(stream.read())).to_pylist()))


_FORMATS: dict[str, Callable[[io.BufferedIOBase, str], Iterator[RawRow]]] = {
    ".jsonl": _jsonl,
    ".json": _json_array,
    ".csv": _csv,
    ".parquet": _parquet,
}
