"""Signs of life of processes that share work, so that one that hangs is named and ended.

Each process writes into memory that it shares with the one that started it: a thread counts the seconds, and the work
itself counts what it has done. A process that is stopped, or waits for a disk that is gone, shows no more seconds; one
whose GPU is dead shows them, but does no work.
"""

import mmap
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from threading import Event, Timer
from typing import Any

from larpo_lib.beside import beside
from larpo_lib.environment import seconds
from larpo_lib.errors import LarpoError

VARIABLE = "LARPO_HANG_LIMIT"
"""Variable of the environment: seconds without any progress after which a process is ended."""

_SETS = f". {VARIABLE} sets the limit in seconds"

CELLS = 3
"""Integers of 64 bits for each process: its id, 0 where there is nobody to watch; seconds, 0 before its first sign of
life; work done."""

_PID, _SECONDS, _WORK = range(CELLS)
_LIMIT_S = 3600.0
_SILENCE_S = 300.0
_START_S = 600.0
"""Seconds that a process may take to its first sign of life: it first reads libraries, often from a network's disk."""
_BEAT_S, _LOOK_S = 1.0, 5.0
_OWN: ContextVar[tuple[Any, int] | None] = ContextVar("larpo_heartbeat", default=None)


class HangError(LarpoError):
    """A process showed no sign of life and was ended. Nothing that was finished is lost."""

    transient = True


def hang_limit_s() -> float:
    """Seconds without progress that are borne. Raises ConfigError where LARPO_HANG_LIMIT is no number of seconds."""
    return seconds(VARIABLE, _LIMIT_S, least=1.0)


def shared_cells(path: Path, processes: int) -> Any:
    """Cells for so many processes in a file, which is made if it is not there."""
    with path.open("a+b") as file:
        file.truncate(8 * CELLS * processes)
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("q")


@contextmanager
def heartbeat(cells: Any, index: int) -> Iterator[None]:
    """Give signs of life within the block.

    Args:
        cells: memory shared with a `Watch`, such as `shared_cells`: `CELLS` integers for each process.
        index: of this process among them.
    """
    first = CELLS * index

    def count(ended: Event) -> None:
        while not ended.wait(_BEAT_S):
            cells[first + _SECONDS] += 1

    cells[first + _SECONDS] += 1
    cells[first + _PID] = os.getpid()
    token = _OWN.set((cells, first + _WORK))
    try:
        with beside(count):
            yield
    finally:
        _OWN.reset(token)
        cells[first + _PID] = 0


def mark() -> None:
    """Say that this process has done some of its work; where nobody watches, nothing."""
    if (own := _OWN.get()) is not None:
        cells, place = own
        cells[place] += 1


@contextmanager
def ended_if_silent(pid: int, name: str) -> Iterator[None]:
    """End a process of this one if the block, in which it answers, takes longer than a process may be silent.

    Raises:
        HangError: it was ended.
    """
    limit, ended = _silence_s(), Event()

    def end() -> None:
        ended.set()
        os.kill(pid, signal.SIGKILL)

    timer = Timer(limit, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if ended.is_set():
            raise _hung(name, pid, "showed no sign of life", limit, _SETS)


class Watch:
    """Finds the process that hangs, if asked every second or so.

    Args:
        cells: as of `heartbeat`.
        kind: what the processes are called, such as "worker process".
        works: each marks its work, so that one that does none hangs.
    """

    def __init__(self, cells: Any, kind: str, *, works: bool) -> None:
        self._cells = cells
        self._kind = kind
        self._limits = {_SECONDS: _silence_s()}
        if works:
            self._limits[_WORK] = hang_limit_s()
        self._seen: dict[tuple[int, int], tuple[int, int, float]] = {}
        self._looked, self._watched_s = time.monotonic(), 0.0

    @property
    def some_are_missing(self) -> bool:
        """Whether there are processes of which nothing is known yet, not even their ids."""
        return any(
            not self._cells[i + _PID] and not self._cells[i + _SECONDS] for i in range(0, len(self._cells), CELLS)
        )

    def started(self, index: int, pid: int) -> None:
        """Watch a process from its start on, and not only from its first sign of life."""
        if not self._cells[CELLS * index + _SECONDS]:
            self._cells[CELLS * index + _PID] = pid

    def end_hung(self) -> HangError | None:
        """End a process that hangs, and say so. Of several that do no work, it is the one that has done none longest.

        Others may only wait for that one, as processes that train together do.
        """
        before, self._looked = self._looked, time.monotonic()
        self._watched_s += min(self._looked - before, _LOOK_S)  # this process may itself have been stopped
        for field in self._limits:
            until, _, index, since = min(self._quiet(index, field) for index in range(len(self._cells) // CELLS))
            if self._watched_s > until:
                return self._end(index, field, self._watched_s - since)
        return None

    def _quiet(self, index: int, field: int) -> tuple[float, int, int, float]:
        """Until when a process may show nothing new, how much it has shown, its index, and since when that is so."""
        pid, seconds, value = (self._cells[CELLS * index + place] for place in (_PID, _SECONDS, field))
        seen = self._seen.get((index, field))
        idle = not pid or (field == _WORK and not seconds)
        if idle or seen is None or seen[:2] != (pid, value):
            seen = self._seen[index, field] = (pid, value, self._watched_s)
        return seen[2] + (self._limits[field] if seconds else _START_S), value, index, seen[2]

    def _end(self, index: int, field: int, quiet_s: float) -> HangError:
        pid, self._cells[CELLS * index + _PID] = self._cells[CELLS * index + _PID], 0
        if not self._cells[CELLS * index + _SECONDS]:
            what, sets = "did not begin", ""
        else:
            what, sets = "showed no sign of life" if field == _SECONDS else "showed no progress", _SETS
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return _hung(f"{self._kind} {index}", pid, what, quiet_s, sets)


def _silence_s() -> float:
    return min(_SILENCE_S, hang_limit_s())


def _hung(name: str, pid: int, what: str, quiet_s: float, sets: str) -> HangError:
    return HangError(
        f"{name} (process id {pid}) {what} for {quiet_s:.0f} s, and was ended",
        remedy="Check the GPU and the disks of this machine, and run the same command again; it continues where it "
        f"stopped{sets}",
    )
