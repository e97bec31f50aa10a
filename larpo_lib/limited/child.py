"""The child's side of `LimitedProcess`: a question a line, in JSON, and a line in answer."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_AGAIN_S = 0.2
_GRACE_S = 2.0


class _OutOfTimeError(BaseException):
    """No Exception, so that nothing in between takes it for a failure of its own."""


def answer_questions(answered: Callable[[Any], Any]) -> None:
    """Answer until there is no more question.

    Args:
        answered: gives the answer to a question, both as JSON has them; bounds its own time by `within`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks is interrupted, too, and ends this process
    signal.signal(signal.SIGPROF, _stop)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    with (
        os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers,
        Path(os.devnull).open("w") as nowhere,
    ):
        sys.stdout = nowhere  # what libraries print is none of the answers
        for line in sys.stdin:
            answers.write(json.dumps(answered(json.loads(line))) + "\n")
            answers.flush()


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What some work gives; None: it took more processor time.

    Python code and regular expressions stop after these seconds. Where code in C goes on, the kernel ends the process
    two seconds later.
    """
    try:
        try:
            signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN_S)  # again, should something swallow the first
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds + _GRACE_S)
            return work()
        finally:
            _stop_timers()
    except _OutOfTimeError:
        _stop_timers()  # it may have come before they were stopped
        return None


def _stop_timers() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _stop(*_: object) -> None:
    raise _OutOfTimeError
