"""The program behind `larpo_lib.guard`: reads process ids until their parent is gone, and ends these processes."""

import os
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def end_with_descendants(pids: Collection[int]) -> None:
    """Kill processes and all that they have started, as far as the system tells it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            parents[int(folder.name)] = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    doomed = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in doomed} - doomed:
        doomed |= more
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    end_with_descendants([int(line) for line in sys.stdin])
