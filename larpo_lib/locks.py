"""Locks of outputs, runs and caches, on one machine and across several.

The kernel's lock goes back when its process dies, however it dies. Some file systems have none, and others, such as NFS
without its lock service, hold them on one machine alone. So a note beside the lock says who has it. The holder renews
its time every few seconds. A note of a process of this machine that is gone counts for nothing; one of another machine
counts until it has not been renewed for a while.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import IO

from larpo_lib.errors import HeldError
from larpo_lib.files import make_directory

BEAT_S, STALE_S = 5.0, 60.0
"""How often a note is renewed, and after what time without it its process counts as gone."""
_POLL_S = 0.5
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """A process that has a lock.

    Attributes:
        machine: tells kernels and containers apart, whose process numbers say nothing to each other.
        host: its name.
        pid: number of the process.
        began: when the process began, as its kernel counts.
        since: when it took the lock, in UTC.
        token: of this lock alone.
    """

    machine: str
    host: str
    pid: int
    began: str
    since: str
    token: str

    @classmethod
    def here(cls) -> Holder:
        """This process, now."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return cls(machine(), socket.gethostname(), os.getpid(), _began(os.getpid()), since, uuid.uuid4().hex[:8])

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """From a note; None where it is being written."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def is_gone(self) -> bool:
        """Whether it is of this machine and no longer runs."""
        return self.machine == machine() and _began(self.pid) != self.began

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds, unless another one thought that it was gone.

    Attributes:
        note: the file that says so.
        holder: this process.
    """

    note: Path
    holder: Holder

    def is_lost(self) -> bool:
        """Whether another process has taken it over."""
        return _holder(self.note) != self.holder


@contextmanager
def exclusive(path: Path, output: Path) -> Iterator[Lock]:
    """Hold the lock `path` of an output.

    Raises:
        HeldError: another process holds it; says which.
        StorageError: its directory cannot be made.
    """

    def refuse(holder: Holder | None) -> None:
        who = f" ({holder})" if holder else ""
        raise HeldError(
            f"{output}: another process is writing it{who}", remedy="Wait until it ends, or choose another output"
        )

    make_directory(path.parent)
    with waiting(path, refuse) as lock:
        yield lock


@contextmanager
def waiting(path: Path, busy: Callable[[Holder | None], None] = lambda _holder: None) -> Iterator[Lock]:
    """Hold the lock `path`, when whoever holds it has given it back.

    Args:
        path: a file, made if it is not there.
        busy: called before a wait, with who holds it if that is known; what it raises ends the wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_name(f"{path.name}.holder")
    with path.open("a") as file:
        locked = _flock(file, note, busy)
        holder = Holder.here()
        while not _take(note, holder, file, locked=locked):
            busy(_holder(note))
            time.sleep(BEAT_S)
        lock = Lock(note, holder)
        with _beating(lock):
            yield lock


def machine() -> str:
    """What process numbers belong to: a start of a kernel, and a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _began(pid: int) -> str:
    """When a process began; "" where there is none, or only its exit code is left of it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"


def _flock(file: IO[str], note: Path, busy: Callable[[Holder | None], None]) -> bool:
    """Take the kernel's lock; False where the file system has none."""
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy(_holder(note))
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _LOG.info("%s: this file system has no locks; the note beside it is used alone", file.name)
        return False
    return True


def _take(note: Path, holder: Holder, lock: IO[str], *, locked: bool) -> bool:
    """Write the note, unless that of another process counts."""
    while True:
        try:
            with note.open("x", encoding="utf-8") as file:
                try:
                    file.write(json.dumps(asdict(holder)))
                except OSError:
                    note.unlink()
                    raise
            return True
        except FileExistsError:
            pass
        found = _text(note)
        if found is None:
            continue
        other = Holder.parse(found)
        if other is not None and other.machine == holder.machine:
            counts = not locked and not other.is_gone()  # the kernel's word is worth more
        else:
            counts = _is_renewed(note, other, lock)
        if counts:
            return False
        _put_away(note, found, holder)


def _put_away(note: Path, text: str, holder: Holder) -> None:
    """Remove a note that counts for nothing. Of several processes that do, one finds it."""
    aside = note.with_name(f"{note.name}.{holder.token}")
    with suppress(FileNotFoundError):
        note.rename(aside)
        if _text(aside) != text:  # another process was faster, and this is its note
            with suppress(FileExistsError):
                os.link(aside, note)
        aside.unlink()


def _is_renewed(note: Path, holder: Holder | None, lock: IO[str]) -> bool:
    """Whether the process of a note is at work, by the clock of the file system; waits for a while to see it."""
    first = _time(note)
    told = False
    while (now := _time(note)) == first and first is not None:
        os.utime(lock.name)
        if Path(lock.name).stat().st_mtime - first >= STALE_S:
            return False
        if not told:
            _LOG.info("%s: waiting for a sign of life of %s", lock.name, holder or "the process that holds it")
            told = True
        time.sleep(_POLL_S)
    return now is not None


def _time(note: Path) -> float | None:
    with suppress(FileNotFoundError), note.open("rb") as file:  # NFS looks at the server when a file is opened
        return os.fstat(file.fileno()).st_mtime
    return None


def _text(note: Path) -> str | None:
    with suppress(FileNotFoundError):
        return note.read_text("utf-8", errors="replace")
    return None


def _holder(note: Path) -> Holder | None:
    return Holder.parse(_text(note) or "")


@contextmanager
def _beating(lock: Lock) -> Iterator[None]:
    """Renew the note within the block, and remove it at the end, for as long as it is this process's."""
    ended = Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with suppress(OSError):  # a file system that is away for a moment
                if lock.is_lost():
                    _LOG.warning("%s: %s has taken over", lock.note, _holder(lock.note) or "another process")
                    return
                os.utime(lock.note)

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            if not lock.is_lost():
                lock.note.unlink()
