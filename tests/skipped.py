"""The last line of a test run: what it skipped, and the command that runs it."""

import re
from collections import Counter
from collections.abc import Sequence


def skipped_line(reasons: Sequence[str]) -> str:
    """How many tests were skipped, why, and what makes them run.

    Args:
        reasons: of each skipped test, such as "no radosgw on this machine; `make services` installs it".
    """
    told = []
    for reason, count in Counter(reason.removeprefix("Skipped: ") for reason in reasons).items():
        command = re.search(r"`(make [^`]+)`", reason)
        why, _, remedy = reason.partition("; ")
        then = f"run: {command[1]} && make test" if command else remedy
        told.append(f"{count} {'test' if count == 1 else 'tests'}: {why}" + (f" ({then})" if then else ""))
    return f"skipped: {'; '.join(told)}" if told else "skipped: no test"
