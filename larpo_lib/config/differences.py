"""Says in what two trees of settings differ."""

import json
import re
from collections.abc import Iterator
from typing import Any

_MOST = 3
_COMMIT = re.compile(r"(@[0-9a-f]{8})[0-9a-f]{32}\b")


def differences(old: Any, new: Any, name: str = "") -> str:
    """The first settings below `name` that differ, with both values; empty where none does."""
    found = list(_differences(old, new, name))
    return "; ".join(found[:_MOST]) + ("; ..." if len(found) > _MOST else "")


def _differences(old: Any, new: Any, name: str) -> Iterator[str]:
    if _are_tables(old) and _are_tables(new):
        old, new = (dict(zip(map(str, range(len(tables))), tables, strict=True)) for tables in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name} {_short(old)} instead of {_short(new)}"


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)


def _short(value: Any) -> str:
    text = json.dumps(value)
    without_tail = _COMMIT.sub(r"\1", text)  # two commits of one model differ behind its name
    return without_tail if len(text) <= 40 or without_tail != text else text[:12].rstrip() + '..."'
