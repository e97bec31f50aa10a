"""Progress of long work: a bar in a terminal, plain lines in a pod."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Advance = Callable[[int], None]

_LINE_EVERY_S = 30.0


def tell(text: str, stream: TextIO | None = None) -> None:
    """Say something about work that is about to begin, as a plain line where progress is shown."""
    print(text, file=stream or sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: int, done: int = 0, stream: TextIO | None = None) -> Iterator[Advance]:
    """Show how far `label` has come.

    Args:
        label: what is being done, such as "sample".
        total: units of work in all.
        done: units that an earlier, interrupted run has finished.
        stream: where to write; standard error if not given.

    Yields:
        A function to call with the number of units just finished.
    """
    stream = stream or sys.stderr
    if stream.isatty():
        with _bar(label, total, done, stream) as advance:
            yield advance
    else:
        with _lines(label, total, done, stream) as advance:
            yield advance


@contextmanager
def _bar(label: str, total: int, done: int, stream: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda units: bar.advance(task, units)


@contextmanager
def _lines(label: str, total: int, done: int, stream: TextIO) -> Iterator[Advance]:
    start = last = time.monotonic()
    first = finished = done

    def advance(units: int) -> None:
        nonlocal finished, last
        finished += units
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S:
            rate = (finished - first) / (now - start)
            left = (total - finished) / rate if rate > 0 else float("inf")
            print(f"{label}: {finished}/{total}, about {left:.0f} s left", file=stream, flush=True)
            last = now

    yield advance
    print(f"{label}: {finished}/{total} in {time.monotonic() - start:.1f} s", file=stream, flush=True)
