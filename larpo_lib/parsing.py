"""JSON and TOML that others wrote. What is nested too deeply is a ValueError, as all else that is wrong."""

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_DEEPEST = 100
_TOO_DEEP = f"it is nested more than {_DEEPEST} levels deep"
_LONGEST = 2**63
"""Whole numbers from here on are none of TOML's, and none that a table holds."""


def parse_json(text: str | bytes, **options: Any) -> Any:
    """The value of JSON.

    Args:
        text: the JSON.
        options: of `json.loads`.

    Raises:
        ValueError: it is none, is nested too deeply, or has a number of thousands of digits.
    """
    with _limits():
        value = json.loads(text, **options)
    opened = text.count(b"[") + text.count(b"{") if isinstance(text, bytes) else text.count("[") + text.count("{")
    if opened > _DEEPEST:  # only then is it worth to look
        _check_depth(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of TOML.

    Raises:
        tomllib.TOMLDecodeError: it is none.
        ValueError: as of `parse_json`.
    """
    with _limits():
        return tomllib.loads(text)


def unusable(value: Any) -> str:
    """What is wrong with a setting, be it in a table or not: nested too deeply, or a whole number that TOML lacks."""
    level = [value]
    for _ in range(_DEEPEST + 1):
        if any(type(part) is int and not -_LONGEST <= part < _LONGEST for part in level):
            return "a whole number has more than 64 bits"
        level = _below(level)
    return _TOO_DEEP if level else ""


@contextmanager
def _limits() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):
            raise ValueError("a whole number has thousands of digits") from None
        raise


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST + 1):
        level = _below(level)
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _below(level: list[Any]) -> list[Any]:
    """What is in the tables and lists of one level. Not by recursion, whose depth is what is in question."""
    parts = (value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list))
    return [part for values in parts for part in values]
