"""How many examples a property gets that takes milliseconds for each: few in tests, as all others in `make fuzz`."""

import os

from hypothesis import settings

from larpo_lib.redaction import visible

few = settings() if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else settings(max_examples=20)


def is_one_line(told: str) -> bool:
    """Whether a terminal shows a text as one line, of a length that a person reads."""
    return visible(told) == told and "\n" not in told and len(told) < 3500
