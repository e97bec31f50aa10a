"""What a step has made, for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larpo_lib.artifacts import read_manifest, read_metrics
from larpo_lib.errors import ArtifactError
from larpo_lib.metadata import as_read
from larpo_lib.schemas import SCHEMAS
from larpo_lib.storage import cache_dir, fetch
from larpo_lib.tables import read_columns

if TYPE_CHECKING:
    from pandas import DataFrame

Place = str | Path
"""Where an artifact or a model is: a path, or an s3:// URI."""


@dataclass(frozen=True)
class Artifact:
    """An artifact that a step has published.

    Attributes:
        place: its path or s3:// URI.
        metrics: what the step reported, as in its `metrics.json`. None: a metric that is not defined on these data.
    """

    place: str
    metrics: Mapping[str, float | int | None] = field(repr=False)

    @classmethod
    def open(cls, place: Place) -> Artifact:
        """An artifact that is there already.

        Raises:
            ArtifactError: it is none, or it is damaged.
            StorageError: the store refuses the read.
        """
        return cls(str(place), read_metrics(fetch(str(place), cache_dir())))

    @property
    def path(self) -> Path:
        """Its directory; of one at an s3:// URI a copy in the cache, which is only to be read."""
        return fetch(self.place, cache_dir())

    @property
    def manifest(self) -> dict[str, Any]:
        """What it was made from: step, settings, digests of the inputs, checksums of its files."""
        return read_manifest(self.path)

    @property
    def tables(self) -> list[str]:
        """Names of its tables, by `larpo_lib.schemas`."""
        return [name for name in SCHEMAS if (self.path / f"{name}.parquet").is_file()]

    def table(self, name: str = "", columns: Sequence[str] | None = None) -> DataFrame:
        """A table as a pandas data frame.

        Args:
            name: of the table; may be left out where there is one only.
            columns: those wanted; all of them if not given.

        Raises:
            ArtifactError: there is no such table, or, where no name is given, none or several.
        """
        names = self.tables
        if not name and len(names) == 1:
            name = names[0]
        if name not in names:
            problem = f"has no table '{name}'" if name else f"has {len(names)} tables"
            raise ArtifactError(f"{self.place}: {problem}", remedy=f"Its tables: {', '.join(names) or 'none'}")
        table = read_columns(self.path, name, columns)
        frame = table.to_pandas()
        if name == "metadata" and "columns" in frame:
            frame["columns"] = [as_read(row, table.schema.field("columns").type) for row in frame["columns"]]
        return frame
