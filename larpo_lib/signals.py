"""SIGTERM as an exception, so that what is at work can say how it ended."""

import os
import signal
import threading
from collections.abc import Iterator
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

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
