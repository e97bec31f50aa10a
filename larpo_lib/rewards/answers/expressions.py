"""Asks math-verify whether expressions are equal, in a process of its own that bounds time and memory.

sympy may take for ever over a short expression, and math-verify's own limit needs the main thread's alarm signal. So
the work is done by a child, which the kernel ends when it has used too much processor time.
"""

from functools import lru_cache
from itertools import accumulate

from larpo_lib.limited import LimitedProcess

LONGEST, DEEPEST = 500, 30
"""Characters of an expression, and brackets around its innermost part; what has more is not read."""


class Expressions:
    """Reads and compares expressions in LaTeX or plain notation.

    The process starts with the first question and ends with this object. Safe in threads and after a fork.
    """

    def __init__(self) -> None:
        process = LimitedProcess("larpo_lib.rewards.answers.expressions_process")

        def answer(wanted: str, given: str | None) -> bool:
            if any(_beyond_limits(text) for text in (wanted, given) if text is not None):
                return False
            return process.answer([wanted, given]) is True

        self.process = process
        self._ask = lru_cache(maxsize=10_000)(answer)

    def readable(self, text: str) -> bool:
        """Whether an expression can be read."""
        return self._ask(text, None)

    def same(self, wanted: str, given: str) -> bool:
        """Whether two expressions are equal; not where one cannot be read, or the limits do not suffice."""
        return self._ask(wanted, given)


def _beyond_limits(text: str) -> bool:
    depths = accumulate((character in "([{") - (character in ")]}") for character in text)
    return not 0 < len(text) <= LONGEST or max(depths) > DEEPEST
