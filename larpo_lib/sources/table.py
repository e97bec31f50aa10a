"""A source's columns: found by their usual names or by the settings', with a record of what each was taken for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from larpo_lib.config.prepare import ColumnsConfig, PrepareConfig
from larpo_lib.errors import DataError
from larpo_lib.sources.cells import Cell, Notes
from larpo_lib.sources.reading import Raw, RawRow

_UNSUPPORTED = ("tools", "functions", "images", "image", "videos", "video", "audios", "audio")
"""Columns that are a part of the prompt, which the policy could not be shown."""
_TOLD = 20

ValueT = TypeVar("ValueT")
Reader = Callable[[RawRow], ValueT]


@dataclass(frozen=True)
class Dropped:
    """A row that cannot be used: its file, where the source has several, its number, and why."""

    file: str
    row: int
    why: str


class Table:
    """The rows of a source, read by columns.

    Args:
        raw: the rows.
        config: names of columns, and what becomes of rows that cannot be used.
        keep: columns whose values are kept as they are, perhaps beside another use.

    Attributes:
        columns: the names that the settings give.
        taken: what each column, or field of the items of a list, is taken for.
        notes: what was done to values, in the rows that could be used.
        dropped: the first of those that could not.

    Raises:
        DataError: a column that is to be ignored or kept is not there.
    """

    def __init__(self, raw: Raw, config: PrepareConfig, keep: Sequence[str] | Literal["all"] = ()) -> None:
        self.raw = raw
        self.columns: ColumnsConfig = config.columns
        self.taken: dict[str, set[str]] = {}
        self.notes = Notes()
        self.dropped: list[Dropped] = []
        self._rows = self._unusable = 0
        self._keep = keep
        self._names = raw.columns
        self._drops = config.invalid == "drop"
        self._row = Notes()
        for name in config.columns.ignore:
            self._require(name, "ignore")
        for name in () if keep == "all" else keep:
            self._require(name, "keep")
        self._present = [name for name in self._names if name not in config.columns.ignore]

    @property
    def kept(self) -> list[str]:
        """Columns whose values are kept; of all those that are at most the reference, as far as is known."""
        if self._keep != "all":
            return [*dict.fromkeys(self._keep)]
        free = [name for name in self._present if self.taken.get(name, set()) <= {"reference"}]
        return [name for name in free if name not in _UNSUPPORTED]

    def first(self, usual: Sequence[str]) -> str | None:
        """The first of the usual names that is there and not taken for anything yet."""
        return next((name for name in usual if name in self._present and name not in self.taken), None)

    def find(self, use: str, usual: Sequence[str], named: str | None = None) -> str | None:
        """A column for `use`: the one the setting `use` names, or else the first of the usual ones that is there.

        Args:
            use: what it is taken for; also the setting in `columns`.
            usual: names to look for.
            named: what the setting says.

        Raises:
            DataError: the named column is not there.
        """
        if named is not None:
            self._require(named, use)
        column = named or self.first(usual)
        if column is not None:
            self.take(column, use)
        return column

    def need(self, use: str, usual: Sequence[str], named: str | None = None) -> str:
        """The same, where there has to be one. Raises DataError if there is none."""
        column = self.find(use, usual, named)
        if column is None:
            raise DataError(
                f"has none of the columns {', '.join(usual)}; {self._seen()}",
                path=self.raw.origin,
                remedy=f"Set columns.{use} to one of its columns",
            )
        return column

    def take(self, column: str, use: str) -> None:
        """Record what a column is taken for."""
        self.taken.setdefault(column, set()).add(use)

    def cell(self, row: RawRow, column: str) -> Cell:
        """The value of a column in a row."""
        return Cell(self.raw.place(row), row.number, column, row.values.get(column), self._row)

    def read(self, reader: Reader[ValueT]) -> Iterator[ValueT]:
        """What `reader` makes of each row that can be used; of the others `dropped` tells.

        Raises:
            DataError: a row cannot be used, and is not to be dropped; or none can.
        """
        first: DataError | None = None
        for row in self.raw.rows:
            self._rows += 1
            self._row = Notes()
            try:
                value = reader(row)
                self._note_the_rest(row)
            except DataError as error:
                if not self._drops:
                    raise
                first = first or error
                self._unusable += 1
                if len(self.dropped) < _TOLD:
                    why = str(error).removeprefix(self.raw.place(row)).lstrip(", ")
                    self.dropped.append(Dropped(row.file, row.number, why))
                continue
            self.notes.update(self._row)
            yield value
        if first is not None and self._unusable == self._rows:
            raise DataError(
                f"contains no usable row. The first one: {self.dropped[0].why}",
                path=self.raw.origin,
                remedy="Set the names of the columns in columns, or fix the rows",
            ) from first

    def record(self) -> dict[str, Any]:
        """What was taken for what, and what was not used: for `columns.json` of the artifact."""
        uses: dict[str, list[str]] = {}
        for column, found in sorted(self.taken.items()):
            for use in sorted(found):
                uses.setdefault(use, []).append(column)
        return {
            "source": self.raw.name,
            "taken": uses,
            "ignored": sorted(self.columns.ignore),
            "not_used": dict(sorted(self.notes.not_used.items())),
            **({"kept": self.kept} if self.kept else {}),
            "files_not_read": self.raw.files_not_read,
            "rows_dropped": [asdict(each) for each in self.dropped],
        }

    def counts(self) -> dict[str, int]:
        """Rows, and what was done to their values."""
        return {
            "rows_read": self._rows,
            "invalid_rows_dropped": self._unusable,
            "columns_not_used": len(self.notes.not_used),
            **({"columns_kept": len(self.kept)} if self.kept else {}),
            **{name: self.notes.counts[name] for name in _COUNTED},
        }

    def _note_the_rest(self, row: RawRow) -> None:
        for name in row.values:
            if name in self.taken or name in self.columns.ignore or (cell := self.cell(row, name)).blank:
                continue
            if name in _UNSUPPORTED:
                raise cell.error(
                    "is part of the prompt, but cannot be shown to the policy",
                    "Add it to columns.ignore to ignore it, or drop such rows with invalid = 'drop'",
                )
            if name not in self.kept:
                self._row.not_used[name] = 1

    def _require(self, named: str, setting: str) -> None:
        if named not in self._names:
            raise DataError(
                f"has no column '{named}'; {self._seen()}", path=self.raw.origin, remedy=f"Change columns.{setting}"
            )

    def _seen(self) -> str:
        return f"it has {', '.join(self._names)}"


_COUNTED = (
    "replies_dropped",
    "conversations_cut_at_prompt",
    "dialogues_split",
    "json_cells_read",
    "empty_system_messages_dropped",
)
