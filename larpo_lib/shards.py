"""Long row-wise work in shards, kept as they are done, so that a restarted step goes on behind the last whole one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from larpo_lib.progress import progress
from larpo_lib.tables import Row, concat_tables, write_table

ItemT = TypeVar("ItemT")


def in_shards(
    label: str,
    items: Sequence[ItemT],
    size: int,
    make: Callable[[Sequence[ItemT]], Sequence[Row]],
    *,
    schema: str,
    scratch: Path,
    output: Path,
) -> None:
    """Turn `items` into the rows of one table, `size` items at a time.

    Args:
        label: shown as progress.
        items: what to work on, in a fixed order.
        size: items a shard holds.
        make: rows of a shard; must depend on its items alone.
        schema: of the rows.
        scratch: keeps finished shards until the step is published.
        output: Parquet file to write.
    """
    parts = []
    starts = range(0, len(items), size)
    done = sum(len(items[start : start + size]) for start in starts if _part(scratch, start).is_file())
    with progress(label, len(items), done) as advance:
        for start in starts:
            part = _part(scratch, start)
            parts.append(part)
            if not part.is_file():
                shard = items[start : start + size]
                temporary = part.with_name(f".{part.name}")
                write_table(temporary, schema, make(shard))
                temporary.replace(part)
                advance(len(shard))
    concat_tables(parts, schema, output)


def _part(scratch: Path, start: int) -> Path:
    return scratch / f"part-{start:09d}.parquet"
