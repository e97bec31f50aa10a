"""A thread that works beside a block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def beside(work: Callable[[Event], None]) -> Iterator[None]:
    """Do `work` in a thread while the block goes on.

    Args:
        work: is given an event that is set when the block has ended; it is waited for. What it raises is raised behind
            the block, unless that raises itself.
    """
    ended = Event()
    failures: list[Exception] = []

    def do() -> None:
        try:
            work(ended)
        except Exception as error:
            failures.append(error)

    thread = Thread(target=do, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]
