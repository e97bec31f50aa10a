"""Which process holds a lock, and whether it still runs."""

import json
import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self


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
    def here(cls) -> Self:
        """This process, now."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return cls(machine(), socket.gethostname(), os.getpid(), _began(os.getpid()), since, uuid.uuid4().hex[:8])

    @classmethod
    def parse(cls, text: str) -> Self | None:
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
