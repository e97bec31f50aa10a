"""Programs of larpo as processes that a test may kill. They are forked from one that has imported what they need."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["forked_imports"])


class Forked:
    """A process that runs a command of larpo, in a session of its own, as `python -m larpo_lib` would.

    Args:
        arguments: of the command line.
        output: file that what it writes is added to.
        without: beginnings of the names of variables that it does not get of this process's environment.
    """

    def __init__(self, *arguments: object, output: Path, without: str | None = None) -> None:
        environment = {
            name: value for name, value in os.environ.items() if without is None or not name.startswith(without)
        }
        given = ([str(argument) for argument in arguments], output.absolute(), environment, Path.cwd())
        self._process = _CONTEXT.Process(target=_larpo, args=given)
        self._process.start()

    def poll(self) -> int | None:
        """The exit code, negative where a signal ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it has not come after `timeout` seconds.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("larpo", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        """Kill it alone, and not what it has started."""
        self._process.kill()

    def kill_session(self) -> None:
        """Kill it with all that it has started."""
        assert self._process.pid is not None
        os.killpg(self._process.pid, signal.SIGKILL)


def _larpo(arguments: list[str], output: Path, environment: dict[str, str], folder: Path) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.argv = ["larpo", *arguments]
    from larpo_lib.cli import main

    main()
