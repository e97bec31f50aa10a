"""Asks math-verify whether expressions are equal, in a process of its own that bounds time and memory.

sympy may take for ever over a short expression, and math-verify's own limit needs the main thread's alarm signal. So
the work is done by a child, which the kernel ends when it has used too much processor time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from functools import lru_cache
from itertools import accumulate

LONGEST, DEEPEST = 500, 30
"""Characters of an expression, and brackets around its innermost part; what has more is not read."""


class Expressions:
    """Reads and compares expressions in LaTeX or plain notation.

    The process starts with the first question and ends with this object. Safe in threads and after a fork.
    """

    def __init__(self) -> None:
        self.process = _Process()
        self._ask = lru_cache(maxsize=10_000)(self.process.answer)

    def readable(self, text: str) -> bool:
        """Whether an expression can be read."""
        return self._ask(text, None)

    def same(self, wanted: str, given: str) -> bool:
        """Whether two expressions are equal; not where one cannot be read, or the limits do not suffice."""
        return self._ask(wanted, given)


class _Process:
    """The child, one question at a time."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._owner = 0

    def answer(self, wanted: str, given: str | None) -> bool:
        if any(_beyond_limits(text) for text in (wanted, given) if text is not None):
            return False
        with self._lock:
            child = self._running()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(json.dumps([wanted, given]) + "\n")
                child.stdin.flush()
                answer = child.stdout.readline()
            except BrokenPipeError:
                answer = ""
            if not answer:
                self.child = None
                if child.wait() >= 0:  # by itself, so not by the kernel over this question
                    raise RuntimeError(f"the process that compares expressions ended with code {child.returncode}")
            return answer == "true\n"

    def _running(self) -> subprocess.Popen[str]:
        if self.child is None or self._owner != os.getpid() or self.child.poll() is not None:
            self._owner = os.getpid()
            self.child = subprocess.Popen(
                [sys.executable, "-m", "larpo_lib.rewards.answers.expressions_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
            weakref.finalize(self, _end, self.child, self._owner)
        return self.child


def _beyond_limits(text: str) -> bool:
    depths = accumulate((character in "([{") - (character in ")]}") for character in text)
    return not 0 < len(text) <= LONGEST or max(depths) > DEEPEST


def _end(child: subprocess.Popen[str], owner: int) -> None:
    if os.getpid() == owner:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
