"""Processes of a test's own that end with it, however it ends."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class Group:
    """Processes that are killed together."""

    def __init__(self, identity: int) -> None:
        self._identity = identity
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program, in the folder of `log`, to which its output is appended."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=log.parent,
                process_group=self._identity,
                user=user,
            )
        self._started.append(process)
        return process

    def kill(self) -> None:
        """End them all, and those that they started."""
        os.killpg(self._identity, signal.SIGKILL)
        for process in self._started:
            process.wait()


@contextmanager
def process_group() -> Iterator[Group]:
    """A group of processes that is killed at the end of the block, and also when this process is killed before that."""
    # Its input ends when this process does, however that comes about. Then it kills its group and itself.
    keeper = subprocess.Popen(["sh", "-c", "read _; kill -9 0"], stdin=subprocess.PIPE, process_group=0)
    group = Group(keeper.pid)
    try:
        yield group
    finally:
        group.kill()
        keeper.communicate()


def free_port() -> int:
    """A port that nobody listens on, and that the kernel gives to no outgoing connection while its server is down."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait until a server answers.

    Raises:
        RuntimeError: it ended, or did not answer in time; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text('utf-8', 'replace')[-3000:]}")


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
