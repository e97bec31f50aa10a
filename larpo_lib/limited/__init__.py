"""Work that may take for ever, such as regular expressions of others, done by a child that can be ended at any time.

Python's own limit, an alarm, needs the main thread, and stops no code in C.
"""

import json
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

from larpo_lib.heartbeat import ended_if_silent


class LimitedProcess:
    """A child that answers one question at a time. Safe in threads and after a fork.

    It starts with the first question and ends with this object.

    Args:
        module: is run as a program, which calls `larpo_lib.limited.child.answer_questions`.

    Attributes:
        child: the process, once there is one.
    """

    def __init__(self, module: str) -> None:
        self.child: subprocess.Popen[str] | None = None
        self._module = module
        self._lock = threading.Lock()
        self._owner = 0

    def answer(self, question: Any) -> Any:
        """The answer to a question, both as JSON has them; None: it took too much time or memory.

        Raises:
            HangError: the child, which bounds the processor time it takes, gave no answer at all.
            RuntimeError: the child ended by itself.
        """
        with self._lock:
            child = self._running()
            try:
                told = _asked(child, json.dumps(question) + "\n", f"the process {self._module}")
            except BaseException:  # an interrupt, say; the answer on its way must not be taken for that to the next
                self.child = None
                child.kill()
                child.wait()
                raise
            if told:
                return json.loads(told)
            self.child = None
            if child.wait() >= 0:  # by itself, so not by the kernel over this question
                raise RuntimeError(f"the process {self._module} ended with code {child.returncode}")
            return None

    def _running(self) -> subprocess.Popen[str]:
        if self.child is None or self._owner != os.getpid() or self.child.poll() is not None:
            self._owner = os.getpid()
            self.child = subprocess.Popen(  # noqa: S603 - a module of ours, by this interpreter
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
            weakref.finalize(self, _end, self.child, self._owner)
        return self.child


def _asked(child: subprocess.Popen[str], line: str, name: str) -> str:
    """The line in answer; empty where the child has ended."""
    assert child.stdin is not None
    assert child.stdout is not None
    with ended_if_silent(child.pid, name):
        try:
            child.stdin.write(line)
            child.stdin.flush()
            return child.stdout.readline()
        except BrokenPipeError:
            return ""


def _end(child: subprocess.Popen[str], owner: int) -> None:
    if os.getpid() == owner:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
