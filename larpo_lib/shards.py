"""Long row-wise work over prompts: cut into shards for several machines, and into parts that survive a stop.

A shard is a run of the prompts in the order of their ids. These are hashes, so a shard is a random sample; the shards
of any number of machines, one behind the other, are all prompts in order.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from larpo_lib.batches import kept_in
from larpo_lib.config.mixins import InParts
from larpo_lib.device_memory import give_back_memory
from larpo_lib.errors import ConfigError
from larpo_lib.files import is_sealed, seal
from larpo_lib.progress import Advance, progress, tell
from larpo_lib.signals import INTERRUPTS
from larpo_lib.tables import Counts, Row, concat_tables, write_table
from larpo_lib.workers import run_in_processes

ItemT = TypeVar("ItemT")

PartResult = tuple[Sequence[Row], Counts]
"""Rows of a part, and how many of what they were made from was dropped."""
PartFn = Callable[[Sequence[str]], PartResult]
"""From prompt_ids to their rows, which must depend on these prompts alone."""
OpenWorker = Callable[[], AbstractContextManager[PartFn]]
"""Gets ready for work, such as by loading a model. For several processes it must be picklable."""


@dataclass(frozen=True)
class Shard:
    """One machine's part of the prompts.

    Attributes:
        index: 0 to count - 1.
        count: number of shards.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `i/n`.

        Raises:
            ConfigError: the text is of another form, or i is not below n.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or int(match[1]) >= int(match[2]):
            raise ConfigError(
                f"shard {text!r} is not in the form i/n with i from 0 to n - 1", remedy="Use, for example, 0/4"
            )
        return cls(int(match[1]), int(match[2]))

    def argument(self) -> dict[str, str]:
        """What it adds to a step's fingerprint."""
        return {} if self == UNSHARDED else {"shard": f"{self.index}/{self.count}"}

    def of(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        """This shard's items: sizes differ by one at most, and every item is in exactly one shard."""
        return items[self.index * len(items) // self.count : (self.index + 1) * len(items) // self.count]


UNSHARDED = Shard(0, 1)


def map_in_parts(
    label: str,
    prompt_ids: Sequence[str],
    config: InParts,
    open_work: OpenWorker,
    *,
    schema: str,
    scratch: Path,
    output: Path,
) -> Counts:
    """Turn prompts into the rows of one table, part by part.

    Args:
        label: shown as progress.
        prompt_ids: what to work on, in a fixed order.
        config: how many prompts a part holds, and how many processes work on parts at the same time, on this machine.
            A restarted step goes on behind the parts it finds.
        open_work: gets ready; not called where every part is done.
        schema: of the rows.
        scratch: keeps finished parts until the step is published; is made if it is not there.
        output: Parquet file to write.

    Returns:
        The sum of the parts' counts.
    """
    scratch.mkdir(exist_ok=True)
    size, processes = config.part_prompts, config.processes
    cut = {_part(scratch, start): prompt_ids[start : start + size] for start in range(0, len(prompt_ids), size)}
    missing = {part: ids for part, ids in cut.items() if not is_sealed(part)}
    done = sum(len(ids) for part, ids in cut.items() if part not in missing)
    with _stop_told(label), progress(label, len(prompt_ids), done) as advance:
        if processes > 1 and len(missing) > 1:
            work = _Parts(open_work, schema, list(missing.items()))
            for index in run_in_processes(work, len(missing), min(processes, len(missing))):
                advance(len(work.parts[index][1]))
        elif missing:
            _make_here(missing, schema, open_work, advance)
            give_back_memory()
    return concat_tables(cut, schema, output)


@contextmanager
def _stop_told(label: str) -> Iterator[None]:
    try:
        yield
    except INTERRUPTS:
        tell(f"{label}: stopped. What is finished is kept; the same command goes on from there")
        raise


@dataclass(frozen=True)
class _Parts:
    """The missing parts, as a process is given them."""

    open_work: OpenWorker
    schema: str
    parts: Sequence[tuple[Path, Sequence[str]]]

    def __call__(self, indices: Callable[[], int | None], done: Callable[[int], None]) -> None:
        """Make parts for as long as there are any."""
        with self.open_work() as make:
            while (index := indices()) is not None:
                part, ids = self.parts[index]
                _make(part, ids, self.schema, make, lambda _units: None)
                done(index)


def _make_here(missing: Mapping[Path, Sequence[str]], schema: str, open_work: OpenWorker, advance: Advance) -> None:
    with open_work() as make:
        for part, ids in missing.items():
            _make(part, ids, schema, make, advance)


def _make(part: Path, ids: Sequence[str], schema: str, make: PartFn, advance: Advance) -> None:
    """Make a part. Of one that was begun before, the batches that are done are taken."""
    told = 0.0

    def advance_by(share: float) -> None:
        nonlocal told
        told += share * len(ids)
        advance(share * len(ids))

    with kept_in(part.with_suffix(".batches"), advance_by):
        _write(part, schema, make(ids))
    advance(len(ids) - told)


def _write(part: Path, schema: str, made: PartResult) -> None:
    rows, counts = made
    temporary = part.with_name(f".{part.name}")
    write_table(temporary, schema, rows, counts)
    seal(temporary, part)


def _part(scratch: Path, start: int) -> Path:
    return scratch / f"part-{start:09d}.parquet"
