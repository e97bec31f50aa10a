"""Single rows of a Parquet file, with few of its row groups in memory."""

import tempfile
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from larpo_lib.errors import StorageError
from larpo_lib.files import refusal

_KEPT = 4
_PASSES = 2
_BATCH = 64
"""Rows of the copy that are read at one time."""


class RowGroups:
    """The rows of a file by their numbers. What is read last is kept, so that going through them reads all once.

    Of a file that is read in another order, which would read each row group many times, an uncompressed copy is made,
    of which a few rows can be read alone. It is a temporary file that is gone with this object.

    Args:
        file: the file.
        columns: of the rows; all of them if not given.
    """

    def __init__(self, file: pq.ParquetFile, columns: Sequence[str] | None) -> None:
        self._file = file
        self._columns = columns
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        self._starts = [*accumulate(sizes, initial=0)]
        self._reads_left = _PASSES * len(sizes)
        self._copy: pa.RecordBatchFileReader | None = None
        self._kept: OrderedDict[int, pa.Table | pa.RecordBatch] = OrderedDict()

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The rows from one number to another.

        Raises:
            ArrowException, OSError: the file is damaged.
            StorageError: there is no room for a copy.
        """
        if self._reads_left <= 0 and self._copy is None:
            self._make_copy()
        while start < stop:
            number = bisect_right(self._starts, start) - 1
            first, last = self._starts[number], min(stop, self._starts[number + 1])
            group = self._group(number)
            yield from group.slice(start - first, last - start).to_pylist()
            start = last

    def _group(self, number: int) -> pa.Table | pa.RecordBatch:
        if number not in self._kept:
            self._kept[number] = self._read(number)
        self._kept.move_to_end(number)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[number]

    def _read(self, number: int) -> pa.Table | pa.RecordBatch:
        if self._copy is not None:
            return self._copy.get_batch(number)
        self._reads_left -= 1
        return self._file.read_row_group(number, columns=self._columns)

    def _make_copy(self) -> None:
        sizes: list[int] = []
        try:
            with tempfile.NamedTemporaryFile(prefix="larpo-") as file:
                schema = self._read(0).schema
                with pa.ipc.new_file(file.name, schema) as writer:
                    for number in range(self._file.num_row_groups):
                        group = self._read(number).combine_chunks()
                        writer.write_table(group, max_chunksize=_BATCH)
                        sizes += [min(_BATCH, group.num_rows - start) for start in range(0, group.num_rows, _BATCH)]
                self._copy = pa.ipc.open_file(pa.OSFile(file.name))
        except OSError as error:
            if (told := refusal(error)) is None:
                raise
            raise StorageError(
                f"{tempfile.gettempdir()}: has no room for a copy of a table whose rows are not in order: {told}",
                remedy="Make room, or set TMPDIR to another folder",
            ) from error
        self._starts = [*accumulate(sizes, initial=0)]
        self._kept.clear()
