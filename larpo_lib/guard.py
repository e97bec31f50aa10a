"""A process that ends others when this one is gone, however that came about."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from larpo_lib import guard_child
from larpo_lib.beside import beside

_LOOK_S = 0.2


class Guard:
    """Ends children of this process, and what these have started, if this process ends before them.

    The kernel can end children with their parent, but only if they ask for it themselves, and children that a library
    starts do not. The guard is a small process in a session of its own, at the other end of a pipe that closes when
    this process ends: also by SIGKILL, and if it is stopped or hangs before that.
    """

    def __init__(self) -> None:
        self._child = subprocess.Popen(  # noqa: S603 - a module of ours, by this interpreter
            [sys.executable, "-I", "-S", guard_child.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        # A process that is forked has this end of the pipe, too, and would keep it open when this one is gone.
        os.register_at_fork(after_in_child=self._let_go)

    @contextmanager
    def over_new_children(self) -> Iterator[None]:
        """Guard what `multiprocessing` starts within the block, from then on. It is ended if the block raises."""
        told = {child.pid for child in multiprocessing.active_children()}

        def look(ended: Event) -> None:
            last = False
            while not last:
                last = ended.wait(_LOOK_S)
                new = {child.pid for child in multiprocessing.active_children()} - told
                self._tell(new)
                told.update(new)

        try:
            with beside(look):
                yield
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End what is left of the children, and the guard."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()

    def _let_go(self) -> None:
        assert self._child.stdin is not None
        if not self._child.stdin.closed:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._child.stdin.fileno())  # closing the file could wait for a lock of another thread
            os.close(nowhere)

    def _tell(self, pids: set[int | None]) -> None:
        assert self._child.stdin is not None
        self._child.stdin.writelines(f"{pid}\n" for pid in pids)
        self._child.stdin.flush()
