"""Single rows by their numbers, most of which are on disk: of a Parquet file, or of a temporary one."""

import tempfile
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from larpo_lib.errors import StorageError
from larpo_lib.files import refusal

_KEPT = 4
_PASSES = 2
_BATCH = 64
"""Rows of a temporary file that are written, and read, at one time."""


class RowGroups:
    """The rows of a file by their numbers. What is read last is kept, so that going through them reads all once.

    Of a file that is read in another order, which would read each row group many times, an uncompressed copy is made,
    of which a few rows can be read alone.

    Args:
        file: the file.
        columns: of the rows; all of them if not given.
    """

    def __init__(self, file: pq.ParquetFile, columns: Sequence[str] | None) -> None:
        self._file = file
        self._columns = columns
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        self._groups = _Groups(sizes, self._read)
        self._reads_left = _PASSES * len(sizes)
        self._copy: RowsOnDisk | None = None

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The rows from one number to another.

        Raises:
            ArrowException, OSError: the file is damaged.
            StorageError: there is no room for a copy.
        """
        if self._reads_left <= 0 and self._copy is None:
            self._copy = RowsOnDisk(self._read(0).schema)
            for number in range(self._file.num_row_groups):
                self._copy.write(self._read(number))
            self._groups = _Groups([], self._read)
        return (self._copy or self._groups).rows(start, stop)

    def _read(self, number: int) -> pa.Table:
        self._reads_left -= 1
        return self._file.read_row_group(number, columns=self._columns)


class RowsOnDisk:
    """Rows that are written one after another, and then read by their numbers; all but the last ones are on disk.

    The file is a temporary one without a name, which is gone with this object.

    Args:
        schema: of the rows.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._sizes: list[int] = []
        self._written = 0
        self._last: list[dict[str, Any]] = []
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self._groups: _Groups | None = None

    def __len__(self) -> int:
        return self._written + len(self._last)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row. Raises StorageError: there is no room for it."""
        self._last.append(dict(row))
        if len(self._last) == _BATCH:
            self.write(pa.Table.from_pylist(self._last, schema=self._schema))
            self._last = []

    def write(self, rows: pa.Table) -> None:
        """Add rows, of which none are read yet. Raises StorageError: there is no room for them."""
        with _room():
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="larpo-")  # noqa: SIM115 - it is gone with this object
                self._writer = pa.ipc.new_file(self._file, self._schema)
            assert self._writer is not None, "rows are added before any is read"
            self._writer.write_table(rows.combine_chunks(), max_chunksize=_BATCH)
        self._sizes += [min(_BATCH, rows.num_rows - start) for start in range(0, rows.num_rows, _BATCH)]
        self._written += rows.num_rows

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The rows from one number to another; from now on none are added."""
        if start < self._written:
            if self._groups is None:
                self._groups = _Groups(self._sizes, self._finished().get_batch)
            yield from self._groups.rows(start, min(stop, self._written))
        yield from self._last[max(0, start - self._written) : max(0, stop - self._written)]

    def at(self, number: int) -> dict[str, Any]:
        """The row with a number; from now on none are added."""
        return next(self.rows(number, number + 1))

    def _finished(self) -> pa.RecordBatchFileReader:
        assert self._writer is not None, "there are rows in the file"
        assert self._file is not None
        with _room():
            self._writer.close()
            self._file.flush()
        self._writer = None
        return pa.ipc.open_file(self._file)


class _Groups:
    """Groups of rows, of which a few are kept.

    Args:
        sizes: rows of each.
        read: the one with a number.
    """

    def __init__(self, sizes: Sequence[int], read: Callable[[int], pa.Table | pa.RecordBatch]) -> None:
        self._starts = [*accumulate(sizes, initial=0)]
        self._read = read
        self.kept: OrderedDict[int, pa.Table | pa.RecordBatch] = OrderedDict()

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        while start < stop:
            number = bisect_right(self._starts, start) - 1
            first, last = self._starts[number], min(stop, self._starts[number + 1])
            yield from self._group(number).slice(start - first, last - start).to_pylist()
            start = last

    def _group(self, number: int) -> pa.Table | pa.RecordBatch:
        if number not in self.kept:
            self.kept[number] = self._read(number)
        self.kept.move_to_end(number)
        while len(self.kept) > _KEPT:
            self.kept.popitem(last=False)
        return self.kept[number]


@contextmanager
def _room() -> Iterator[None]:
    """Tell that a temporary file cannot be written."""
    try:
        yield
    except OSError as error:
        if (told := refusal(error)) is None:
            raise
        raise StorageError(
            f"{tempfile.gettempdir()}: has no room for a copy of rows that are read in another order: {told}",
            remedy="Make room, or set TMPDIR to another folder",
        ) from error


def runs(columns: Iterable[pa.ChunkedArray]) -> tuple[NDArray[np.int64], pa.StringArray]:
    """Where each run of equal texts begins in a column, and its text; the column comes in parts."""
    starts, texts, before, last = [np.empty(0, np.int64)], [pa.array([], pa.string())], 0, None
    for part in columns:
        column = part.combine_chunks()
        first = first_of_equals(column)
        if len(first) and column[0].as_py() == last:
            first = first[1:]
        starts.append(first + before)
        texts.append(column.take(first))
        before, last = before + len(column), column[-1].as_py() if len(column) else last
    return np.concatenate(starts), pa.concat_arrays(texts)


def first_of_equals(texts: pa.StringArray) -> NDArray[np.int64]:
    """Where each run of equal texts begins."""
    if not len(texts):
        return np.empty(0, np.int64)
    changes = pc.not_equal(texts[1:], texts[:-1]).to_numpy(zero_copy_only=False)
    return np.append(0, np.flatnonzero(changes) + 1)
