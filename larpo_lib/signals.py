"""SIGTERM as an exception, so that what is at work can say how it ended; and stops that can wait."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

INTERRUPTS = (KeyboardInterrupt, SystemExit)
"""What ends a program that somebody stopped, by Ctrl-C or by SIGTERM."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise SystemExit within the block on SIGTERM, once; a second one is not heard, as the block is ending.

    Only the main thread may listen; elsewhere a kill ends the process without a word, as it does outside the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def stop(number: int, _frame: Any) -> NoReturn:
        if os.getpid() != owner:  # a process that was forked from this one ends at once
            os._exit(128 + number)
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    with _heard([signal.SIGTERM], stop):
        yield


class Stop:
    """That this process was told to end.

    Attributes:
        number: of the signal that said so; 0 if none did.
        waits: whether what is at work looks at `number` itself, between two things that are whole.
    """

    def __init__(self) -> None:
        self.number = 0
        self.waits = False

    def hear(self, number: int, _frame: Any) -> None:
        """Raise SystemExit, unless that can wait."""
        first, self.number = not self.number, number
        if first and not self.waits:
            self.end()

    def end(self) -> NoReturn:
        """Raise SystemExit now, though it may have been another process that was told."""
        raise SystemExit(128 + (self.number or signal.SIGTERM))


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Hear within the block, in the main thread, what Ctrl-C, SIGTERM and a terminal that is closed say."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    with _heard(minded([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]), stop.hear):
        yield stop


def minded(numbers: Sequence[signal.Signals]) -> list[signal.Signals]:
    """The signals among some that this process was not told to ignore, as nohup tells it of SIGHUP."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def handlers_restored() -> Iterator[None]:
    """Undo what the block does to the handlers of signals."""
    kept = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)


@contextmanager
def _heard(numbers: Sequence[int], handler: Callable[[int, Any], None]) -> Iterator[None]:
    with handlers_restored():
        for number in numbers:
            signal.signal(number, handler)
        yield
