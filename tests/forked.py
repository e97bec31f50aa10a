"""Programs of larpo as processes that a test may kill. They are forked from one that has imported what they need."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

from services.processes import free_port

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["forked_imports"])


class Forked:
    """A process of a session of its own, that a test may kill."""

    def __init__(self, process: Any) -> None:
        self._process = process
        process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        number = self._process.pid
        assert isinstance(number, int)
        return number

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

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill_session(self) -> None:
        """Kill it with all that it has started."""
        os.killpg(self.pid, signal.SIGKILL)


def forked(
    function: Callable[..., None], *arguments: object, output: Path, environment: Mapping[str, str] | None = None
) -> Forked:
    """Call a function in a process of its own.

    Args:
        function: of a module, so that the process finds it.
        arguments: of the function.
        output: file that what it writes is added to.
        environment: this process's, if not given.
    """
    variables = dict(os.environ if environment is None else environment)
    given = (function, arguments, output.absolute(), variables, Path.cwd())
    # Python 3.11 does not give this process's path to the server, which passes over what it does not find.
    with mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}):
        forkserver.ensure_running()
    return Forked(_CONTEXT.Process(target=_call, args=given))


def forked_larpo(*arguments: object, output: Path, environment: Mapping[str, str] | None = None) -> Forked:
    """Run a command as `python -m larpo_lib` would."""
    return forked(_larpo, [str(argument) for argument in arguments], output=output, environment=environment)


def forked_as_torchrun(function: Callable[..., None], *arguments: object, folder: Path) -> list[Forked]:
    """Call a function in two processes that are started as torchrun starts them, without the seconds that it takes."""
    meeting = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        forked(
            function,
            *arguments,
            output=folder / f"{rank}.log",
            environment={**meeting, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]


def run_as_torchrun(function: Callable[..., None], *arguments: object, folder: Path) -> None:
    """As `forked_as_torchrun`, until they end."""
    ended = [process.wait() for process in forked_as_torchrun(function, *arguments, folder=folder)]
    assert ended == [0, 0], "".join((folder / f"{rank}.log").read_text() for rank in "01")


def _call(
    function: Callable[..., None], arguments: Sequence[object], output: Path, environment: dict[str, str], folder: Path
) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    function(*arguments)


def _larpo(arguments: list[str]) -> None:
    from larpo_lib.cli import main

    sys.argv = ["larpo", *arguments]
    main()
