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
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import IO, Protocol

from larpo_lib.beside import beside
from larpo_lib.errors import HeldError, StorageError
from larpo_lib.files import make_directory
from larpo_lib.holder import Holder

BEAT_S, STALE_S = 5.0, 60.0
"""How often a note in a file is renewed, and after what time without it its process counts as gone."""
_LOOKS = 10
"""How often a note is looked at while it might be renewed once."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_LOG = logging.getLogger(__name__)


class Note(Protocol):
    """Where it is written who holds a lock.

    Attributes:
        place: what to call it.
        beat_s: seconds after which it is renewed, again and again.
        stale_s: seconds without that after which its process counts as gone.
    """

    place: str
    beat_s: float
    stale_s: float

    def create(self, text: str) -> bool:
        """Write it, unless there is one."""

    def read(self) -> str | None:
        """What it says; None where there is none."""

    def state(self) -> tuple[object, float] | None:
        """What changes whenever it is renewed, and its age in seconds by the clock there; None where there is none."""

    def renew(self, text: str) -> None:
        """Show that its process is at work."""

    def remove(self, text: str) -> None:
        """Remove it if this is what it says."""


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds, unless another one thought that it was gone.

    Attributes:
        note: that says so.
        holder: this process.
    """

    note: Note
    holder: Holder

    def is_lost(self) -> bool:
        """Whether another process has taken it over."""
        return Holder.parse(self.note.read() or "") != self.holder


Busy = Callable[[Holder | None], None]
"""Called before a wait, with who holds a lock if that is known; what it raises ends the wait."""


def refusal(output: Path | str) -> Busy:
    """Not to wait for an output: raises HeldError, which says who holds it."""

    def refuse(holder: Holder | None) -> None:
        who = f" ({holder})" if holder else ""
        raise HeldError(
            f"{output}: another process is writing it{who}", remedy="Wait until it ends, or choose another output"
        )

    return refuse


@contextmanager
def exclusive(path: Path, output: Path) -> Iterator[Lock]:
    """Hold the lock `path` of an output.

    Raises:
        HeldError: another process holds it; says which.
        StorageError: its directory cannot be made.
    """
    make_directory(path.parent)
    with waiting(path, refusal(output)) as lock:
        yield lock


@contextmanager
def waiting(path: Path, busy: Busy = lambda _holder: None) -> Iterator[Lock]:
    """Hold the lock `path`, a file that is made if it is not there, when whoever holds it has given it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        note = _FileNote(path)
        with noted(note, busy, locked=_flock(file, note, busy)) as lock:
            yield lock


@contextmanager
def noted(note: Note, busy: Busy, *, locked: bool = False) -> Iterator[Lock]:
    """Hold a lock by its note.

    Args:
        note: of the lock.
        busy: see `Busy`.
        locked: whether this process has the kernel's lock too, which is worth more than notes of this machine.
    """
    lock = Lock(note, Holder.here())
    text = json.dumps(asdict(lock.holder))
    while not note.create(text):
        found = note.read()
        if found is None:
            continue
        other = Holder.parse(found)
        if other is not None and other.machine == lock.holder.machine:
            counts = not locked and not other.is_gone()
        else:
            counts = _is_renewed(note, other)
        if counts:
            busy(other)
            time.sleep(note.beat_s)
        else:
            note.remove(found)
    with _beating(lock, text):
        yield lock


def _flock(file: IO[str], note: Note, busy: Busy) -> bool:
    """Take the kernel's lock; False where the file system has none."""
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy(Holder.parse(note.read() or ""))
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _LOG.info("%s: this file system has no locks; the note beside it is used alone", file.name)
        return False
    return True


def _is_renewed(note: Note, holder: Holder | None) -> bool:
    """Whether the process of a note is at work; waits for a while to see it."""
    first = state = note.state()
    told, begun = False, time.monotonic()
    while first is not None and state is not None and state[0] == first[0]:
        # By this process's own clock, too: the time of a note may lie ahead.
        if max(state[1], time.monotonic() - begun) >= note.stale_s:
            return False
        if not told:
            _LOG.info("%s: waiting for a sign of life of %s", note.place, holder or "the process that holds it")
            told = True
        time.sleep(note.beat_s / _LOOKS)
        state = note.state()
    return state is not None


@contextmanager
def _beating(lock: Lock, text: str) -> Iterator[None]:
    """Renew the note within the block, and remove it at the end, for as long as it is this process's."""

    def beat(ended: Event) -> None:
        while not ended.wait(lock.note.beat_s):
            with suppress(OSError, StorageError):  # what is away for a moment
                if lock.is_lost():
                    _LOG.warning("%s: another process has taken over", lock.note.place)
                    return
                lock.note.renew(text)

    try:
        with beside(beat):
            yield
    finally:
        with suppress(OSError, StorageError):
            lock.note.remove(text)


class _FileNote:
    """A note beside a lock's file, by the clock of its file system."""

    def __init__(self, lock: Path) -> None:
        self.place, self.beat_s, self.stale_s = str(lock), BEAT_S, STALE_S
        self._lock, self._note = lock, lock.with_name(f"{lock.name}.holder")

    def create(self, text: str) -> bool:
        try:
            with self._note.open("x", encoding="utf-8") as file:
                try:
                    file.write(text)
                    file.flush()
                except OSError:
                    self._note.unlink()
                    raise
        except FileExistsError:
            return False
        return True

    def read(self) -> str | None:
        with suppress(FileNotFoundError):
            return self._note.read_text("utf-8", errors="replace")
        return None

    def state(self) -> tuple[object, float] | None:
        os.utime(self._lock)
        with suppress(FileNotFoundError), self._note.open("rb") as file:  # NFS asks its server when one is opened
            changed = os.fstat(file.fileno()).st_mtime
            return changed, self._lock.stat().st_mtime - changed
        return None

    def renew(self, text: str) -> None:
        del text
        os.utime(self._note)

    def remove(self, text: str) -> None:
        """Of several processes that do at once, one finds it."""
        aside = self._note.with_name(f"{self._note.name}.{uuid.uuid4().hex[:8]}")
        with suppress(FileNotFoundError):
            self._note.rename(aside)
            if aside.read_text("utf-8", errors="replace") != text:  # another process was faster, and this is its note
                with suppress(FileExistsError):
                    os.link(aside, self._note)
            aside.unlink()
