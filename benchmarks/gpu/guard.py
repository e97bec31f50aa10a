"""Runs each part in a process of its own with a time limit, so that one that breaks down does not end the others.

While a part runs, the process of the next one loads its libraries, which takes longer than many a measurement.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Part, read_rows

DONE, SKIPPED, FAILED, STOPPED = "done", "skipped", "failed", "stopped"
LEAST_S = 10.0
"""A part is not begun with less time left."""
GO = b"go\n"
"""Lets a process begin that waits with its libraries loaded."""

Process = subprocess.Popen[bytes]


def run_parts(parts: Sequence[Part], device: str, folder: Path, end: float) -> Iterator[dict[str, Any]]:
    """Run parts one after the other until `end` of the monotonic clock; gives the report of each as it is done."""
    waiting = [part for part in parts if not part.missing]
    ready: Process | None = None
    try:
        for part in parts:
            if part.missing:
                yield _report(part, why=f"not installed: {', '.join(part.missing)}")
                continue
            if (left := end - time.monotonic()) < LEAST_S:
                yield _report(part, why="no time was left")
                continue
            process, ready = ready or start_part(part, device, folder), None
            waiting.remove(part)
            if waiting and left > part.seconds:
                ready = start_part(waiting[0], device, folder)
            yield _run(part, process, folder, min(float(part.seconds), left))
    finally:
        if ready is not None:
            _stop(ready)


def start_part(part: Part, device: str, folder: Path) -> Process:
    """The process of a part, which loads its libraries and then waits for `GO`."""
    rows = folder / f"{part.name}.jsonl"
    rows.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.part", part.name, "--device", device, "--rows", str(rows)]
    return start(command, folder / f"{part.name}.log")


def start(command: Sequence[str], log: Path) -> Process:
    """The process of a command that waits for `GO`, and writes to `log`."""
    with log.open("wb") as output:
        # a group of its own, so that its children can be stopped with it
        return subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def finish(process: Process, seconds: float) -> int | None:
    """The exit code of a process that is let begin; None where it was stopped, with all that it had started."""
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(GO)
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _stop(process)


def _run(part: Part, process: Process, folder: Path, limit: float) -> dict[str, Any]:
    print(f"{part.name}: {part.shows} ...", file=sys.stderr, flush=True)
    begun = time.monotonic()
    code = finish(process, limit)
    report = _report(part, read_rows(folder / f"{part.name}.jsonl"), time.monotonic() - begun)
    if code is None:
        return report | {"state": STOPPED, "why": f"it took longer than {limit:.0f} s"}
    if code:
        return report | {"state": FAILED, "why": _last_words(folder / f"{part.name}.log", code)}
    return report


def _report(
    part: Part, rows: Sequence[dict[str, Any]] = (), seconds: float = 0.0, why: str | None = None
) -> dict[str, Any]:
    """`name`, `shows`, `state`, `seconds`, `rows`, and `why` where it did not come to its end."""
    found: dict[str, Any] = {"name": part.name, "shows": part.shows, "state": DONE if why is None else SKIPPED}
    found |= {"seconds": round(seconds, 1), "rows": [*rows]}
    return found if why is None else found | {"why": why}


def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    told = f": {lines[-1][:300]}" if lines else ""
    name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{name}{told} (see {log.name})"
