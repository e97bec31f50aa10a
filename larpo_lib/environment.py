"""Variables of the environment that hold a number."""

import os

from larpo_lib.errors import ConfigError


def seconds(variable: str, usual: float, *, least: float = 0.0) -> float:
    """A number of seconds.

    Args:
        variable: name of the variable.
        usual: the number where it is not set.
        least: the smallest that makes sense.

    Raises:
        ConfigError: it holds something else.
    """
    given = os.environ.get(variable, "")
    try:
        value = float(given) if given else usual
    except ValueError:
        value = -1.0
    if not least <= value < float("inf"):
        from_least = f", {least:g} or more" if least else ""
        raise ConfigError(
            f"{variable} = {given!r} is not a number of seconds{from_least}",
            remedy=f"Set it to a number, for example {usual:g}",
        )
    return value
