"""What goes wrong within a process of larpo, at the n-th thing that it does: with a file, or a batch of its work.

Python tells of everything that it is about to do with files (`sys.addaudithook`), and what the hook raises is raised
there. So nothing of larpo is replaced, but for locks, clocks, and how long it waits.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.heartbeat import CELLS, heartbeat, shared_cells
from larpo_lib.training import ranks

_WRITES = frozenset({"os.rename", "os.mkdir", "os.link", "os.truncate", "os.utime", "fsync"})
_OTHERS = frozenset({"os.remove", "os.rmdir", "open", "work"})
_WORK, _DONE = CELLS - 1, CELLS
"""Where the batches and passes are counted, and everything that a process does."""
_REFUSED = {"disk full": errno.ENOSPC, "disk broken": errno.EIO, "store of files gone": errno.ESTALE}
_SIGNALS = {"kill": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}


@dataclass(frozen=True)
class Sabotage:
    """What goes wrong.

    Attributes:
        what: a signal of `_SIGNALS`, once; an answer of `_REFUSED`, from then on; "clock": it jumps; "": nothing.
        at: the number of the thing it does, counted from 1: files of the working directory, and batches of work.
        jump_s: of the clock.
        locks: "none": the file system has none (ENOLCK); "local": they are of one machine, and each process is on
            another; "": as they are.
        file_bytes: the largest file that the file system takes; 0: any.
        patience_s: for an MLflow that does not answer; 0: larpo's own.
    """

    what: str = ""
    at: int = 0
    jump_s: float = 0.0
    locks: str = ""
    file_bytes: int = 0
    patience_s: float = 0.0


def larpo(arguments: list[str], sabotage: Sabotage, counts: Path) -> None:
    """Run a command, and count what it does in a file, which stays when the process is killed; see `read_counts`."""
    from larpo_lib.cli import main

    _be_quick(sabotage.patience_s)
    cells = shared_cells(counts, 2)
    _break_locks(sabotage.locks)
    watched = _Work(cells, _watch_files(sabotage, cells))
    if sabotage.file_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (sabotage.file_bytes, resource.RLIM_INFINITY))
    sys.argv = ["larpo", *arguments]
    with heartbeat(watched, 0):
        main()


class _Work:
    """The cells of a process, whose every batch is something that it does."""

    def __init__(self, cells: Any, watch: Callable[[str, tuple[Any, ...]], None]) -> None:
        self._cells, self._watch = cells, watch

    def __getitem__(self, index: int) -> int:
        return int(self._cells[index])

    def __setitem__(self, index: int, value: int) -> None:
        # What processes tell one another is a sign of life, but no work: it is how a checkpoint is read, too.
        if index == _WORK and sys._getframe(2).f_globals["__name__"] == ranks.__name__:
            return
        self._cells[index] = value
        if index == _WORK:
            self._watch("work", ("work",))


def read_counts(counts: Path) -> tuple[int, int]:
    """Of a process: how much it did in all, and how many batches and passes that was."""
    cells = shared_cells(counts, 2)
    return cells[_DONE], cells[_WORK]


def _be_quick(patience_s: float) -> None:
    """Wait for seconds for what is gone, where larpo waits for minutes."""
    from larpo_lib import locks
    from larpo_lib.storage import client
    from larpo_lib.tracking import outbox

    locks.BEAT_S, locks.STALE_S, locks._POLL_S = 0.2, 4.0, 0.05
    client._LEAST_S = 0.5
    if patience_s:
        outbox._PATIENCE_S = outbox._PAUSE_S = outbox._OWN_PATIENCE_S = patience_s


def _break_locks(how: str) -> None:
    import fcntl

    from larpo_lib import locks

    def refuse(_file: object, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if how == "none":
        fcntl.flock = refuse
    elif how == "local":
        fcntl.flock = lambda _file, _how: None
        own = f"machine of {os.getpid()}"
        locks.machine = lambda: own


def _watch_files(sabotage: Sabotage, cells: Any) -> Callable[[str, tuple[Any, ...]], None]:
    here, fsync = f"{Path.cwd()}{os.sep}", os.fsync

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in _WRITES or (event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)))
        if not (writes or event in _OTHERS) or not _is_below(arguments[0], here):
            return
        cells[_DONE] += 1
        if sabotage.what and cells[_DONE] >= sabotage.at:
            _strike(sabotage, arguments[0], writes=writes, first=cells[_DONE] == sabotage.at)

    def audited_fsync(descriptor: int) -> None:
        watch("fsync", ("fsync",))
        fsync(descriptor)

    os.fsync = audited_fsync
    sys.addaudithook(watch)
    return watch


def _is_below(path: Any, here: str) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    text = os.fsdecode(path)
    return text.startswith(here) or not os.path.isabs(text)  # noqa: PTH117 - a Path for each file would be slow


def _strike(sabotage: Sabotage, path: Any, *, writes: bool, first: bool) -> None:
    number = _REFUSED.get(sabotage.what)
    if number is not None:
        if path == "work":
            return
        if writes or number != errno.ENOSPC:
            raise OSError(number, os.strerror(number), os.fsdecode(path))
    elif first and sabotage.what == "clock":
        _jump(sabotage.jump_s)
    elif first:
        os.kill(os.getpid(), _SIGNALS[sabotage.what])


def _jump(seconds: float) -> None:
    now, now_ns, gmtime = time.time, time.time_ns, time.gmtime
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + int(seconds * 1e9)
    time.gmtime = lambda at=None: gmtime(now() + seconds if at is None else at)
