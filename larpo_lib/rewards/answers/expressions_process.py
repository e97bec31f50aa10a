"""The process behind `Expressions`: asked `[wanted, given]`, it answers `true` or `false`."""

import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

from larpo_lib.limited.child import answer_questions, within

TIMEOUT_S = 2.0
"""Seconds of processor time that a question may take."""
MOST_BYTES = 4 * 2**30


def main() -> None:
    """Answer until there is no more question."""
    import math_verify  # noqa: F401 - where it is missing, every answer would be wrong

    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    logging.disable()
    with Path(os.devnull).open("w") as nowhere:
        sys.stderr = nowhere  # parsers print what they could not read
        answer_questions(_answered)


def _answered(question: list[Any]) -> bool:
    wanted, given = question
    try:
        return within(TIMEOUT_S, lambda: _compare(wanted, given)) is True
    except Exception:  # whatever sympy makes of a babbling policy's text, it is no right answer
        return False


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
