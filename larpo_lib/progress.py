"""Notices, and progress of long work: a bar in a terminal, plain lines in a pod. How much is told, `logs` decides."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float], None]
"""Told how many units are finished besides; parts of one count too."""

_LINE_EVERY_S = 30.0
_LOG = logging.getLogger(__name__)


def tell(text: str) -> None:
    """Say something about work that is about to begin, as a plain line where progress is shown."""
    _LOG.info("%s", text)


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show how far `label` has come.

    Args:
        label: what is being done, such as "sample".
        total: units of work in all.
        done: units that an earlier, interrupted run has finished.

    Yields:
        A function to call with the number of units just finished.
    """
    show = _bar if sys.stderr.isatty() and _LOG.isEnabledFor(logging.INFO) else _lines
    with show(label, total, done) as advance:
        yield advance


@contextmanager
def _bar(label: str, total: int, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda units: bar.advance(task, units)


@contextmanager
def _lines(label: str, total: int, done: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    first = finished = float(done)

    def advance(units: float) -> None:
        nonlocal finished, last
        finished += units
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S:
            rate = (finished - first) / (now - start)
            left = (total - finished) / rate if rate > 0 else float("inf")
            _LOG.info("%s: %d/%d, %.3g/s, about %.0f s left", label, finished, total, rate, left)
            last = now

    yield advance
    _LOG.info("%s: %d/%d in %.1f s", label, round(finished), total, time.monotonic() - start)
