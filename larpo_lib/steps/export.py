"""Writes training lists as a data set that other trainers read."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from larpo_lib.artifacts import Metrics
from larpo_lib.candidates.layouts import LAYOUTS, Exported, Record, columns
from larpo_lib.errors import ArtifactError, ConfigError
from larpo_lib.files import make_directory
from larpo_lib.schemas import ListRow
from larpo_lib.storage import is_remote, located
from larpo_lib.tables import iterate_table

_ROWS = 1024


def run(lists: Path, target: str, layout: str) -> Metrics:
    """Write the lists as one file of rows, whole or not at all.

    Args:
        lists: artifact of `build_lists`.
        target: file to write, which must not be there: `.jsonl` or `.parquet`.
        layout: of the rows; one of `larpo_lib.candidates.layouts.LAYOUTS`.

    Returns:
        What `Exported.counts` says.

    Raises:
        ConfigError: the layout or the file's name is unknown, or the file is there.
        ArtifactError: there are no lists, or no row can be made of them.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"there is no layout '{layout}'", remedy=f"Use {', '.join(LAYOUTS)}")
    out = Path(located(target))
    if is_remote(target) or out.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(
            f"cannot write lists to '{target}'", remedy="Name a local file that ends with .jsonl or .parquet"
        )
    if out.exists():
        raise ConfigError(f"{out}: exists already", remedy="Name another file, or delete this one")
    make_directory(out.parent)
    rows = Exported(cast(Iterable[ListRow], iterate_table(lists, "lists")), layout)
    partial = out.with_name(f".{out.name}.partial")
    try:
        if out.suffix == ".jsonl":
            _write_lines(partial, rows)
        else:
            _write_parquet(partial, rows, columns(layout))
        counts = rows.counts()
        if not counts["rows"]:
            raise ArtifactError(f"{lists}: no row of the layout {layout} can be made: {counts}")
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)
    return {**counts}


def _write_lines(path: Path, rows: Iterable[Record]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _write_parquet(path: Path, rows: Iterable[Record], schema: pa.Schema) -> None:
    waiting: list[Record] = []
    with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for row in rows:
            waiting.append(row)
            if len(waiting) == _ROWS:
                writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting = []
        writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
