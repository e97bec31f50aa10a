"""The process behind `Expressions`: a question a line, `[wanted, given]` in JSON, and `true` or `false` in answer."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

SOFT_S, HARD_S = 2.0, 4.0
"""Seconds of processor time a question may take: Python code stops at the first, the kernel ends the process at the
second, where code in C goes on."""
MOST_BYTES = 4 * 2**30


class _OutOfTimeError(BaseException):
    """No Exception, so that nothing in between takes it for a failure of its own."""


def main() -> None:
    """Answer until there is no more question."""
    import math_verify  # noqa: F401 - where it is missing, every answer would be wrong

    _limit()
    logging.disable()
    with (
        os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers,
        Path(os.devnull).open("w") as nowhere,
    ):
        sys.stdout = sys.stderr = nowhere  # what parsers print is none of the answers
        for line in sys.stdin:
            wanted, given = json.loads(line)
            answers.write(json.dumps(_answered(wanted, given)) + "\n")
            answers.flush()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    signal.signal(signal.SIGPROF, _stop)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)


def _stop(*_: object) -> None:
    raise _OutOfTimeError


def _answered(wanted: str, given: str | None) -> bool:
    try:
        signal.setitimer(signal.ITIMER_PROF, SOFT_S, SOFT_S / 10)  # again, should something swallow the first
        signal.setitimer(signal.ITIMER_VIRTUAL, HARD_S)
        return _compare(wanted, given)
    except (Exception, _OutOfTimeError):  # whatever sympy makes of a babbling policy's text, it is no right answer
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _compare(wanted: str, given: str | None) -> bool:
    from math_verify import verify

    read = _read(wanted)
    if given is None or read is None:
        return read is not None
    other = _read(given)
    return other is not None and verify(read, other, timeout_seconds=None, allow_set_relation_comp=True)


def _read(text: str) -> Any:
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    # Units were taken off before: math-verify's list of them holds variables, such as t.
    normal = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    target = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normal)]
    found = parse(f"${text}$", target, fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found else None


if __name__ == "__main__":
    main()
