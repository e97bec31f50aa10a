"""Ends the asking of a judge of whom nothing can be read, before more is paid for it."""

from collections.abc import Callable

from larpo_lib.errors import LarpoError
from larpo_lib.judging import completions
from larpo_lib.judging.decisions import Answer

MOST_UNREAD = 50
"""Judgements that are bought while none at all can be read."""


class Unreadable:
    """Looks at a judge's answers as they come.

    Args:
        can_read: whether an answer holds what is looked for.
        remedy: what to do about a judge whose answers never do.
        most: answers that may come while none can be read.
    """

    def __init__(self, can_read: Callable[[Answer], bool], remedy: str, *, most: int = MOST_UNREAD) -> None:
        self._can_read, self._remedy, self._most = can_read, remedy, most
        self._unread = 0
        self._read = False

    def look(self, answer: Answer) -> None:
        """Take note of an answer.

        Raises:
            LarpoError: so many could not be read, and none could.
        """
        self._read = self._read or self._can_read(answer)
        self._unread += not self._read
        if not self._read and self._unread >= self._most:
            raise none_read(
                f"none of the first {self._unread} judgements can be read", completions.text(answer), self._remedy
            )


def none_read(problem: str, text: str, remedy: str) -> LarpoError:
    """The error for judgements of which none can be read; `text` is one of them."""
    return LarpoError(f"{problem}, for example {text[:80]!r}; stored judgements are kept", remedy=remedy)
