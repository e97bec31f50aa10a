"""Runs each part in a process of its own with a time limit, so that one that breaks down does not end the others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Part, read_rows

DONE, SKIPPED, FAILED, STOPPED = "done", "skipped", "failed", "stopped"
LEAST_S = 10.0
"""A part is not begun with less time left."""


def run_part(part: Part, device: str, folder: Path, seconds_left: float) -> dict[str, Any]:
    """Run a part, for `part.seconds` or what is left of the whole time.

    Returns:
        `name`, `shows`, `state`, `seconds`, `rows`, and `why` where it did not come to its end.
    """
    report: dict[str, Any] = {"name": part.name, "shows": part.shows, "state": SKIPPED, "seconds": 0.0, "rows": []}
    if part.missing:
        return report | {"why": f"not installed: {', '.join(part.missing)}"}
    if seconds_left < LEAST_S:
        return report | {"why": "no time was left"}
    rows, log = folder / f"{part.name}.jsonl", folder / f"{part.name}.log"
    rows.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.part", part.name, "--device", device, "--rows", str(rows)]
    start, limit = time.monotonic(), min(float(part.seconds), seconds_left)
    code = call(command, log, limit)
    report |= {"seconds": round(time.monotonic() - start, 1), "rows": read_rows(rows), "state": DONE}
    if code is None:
        return report | {"state": STOPPED, "why": f"it took longer than {limit:.0f} s"}
    if code:
        return report | {"state": FAILED, "why": _last_words(log, code)}
    return report


def call(command: Sequence[str], log: Path, seconds: float) -> int | None:
    """The exit code of a command that writes to `log`; None where it was stopped, with all that it had started."""
    with log.open("wb") as output:
        # a group of its own, so that its children can be stopped with it
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)  # noqa: S603
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    told = f": {lines[-1][:300]}" if lines else ""
    name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{name}{told} (see {log.name})"
