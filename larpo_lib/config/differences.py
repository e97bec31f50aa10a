"""Says in what two trees of settings differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_MOST = 3


def differences(old: Any, new: Any, name: str = "") -> str:
    """The first settings below `name` that differ, with both values; empty where none does."""
    found = list(_differences(old, new, name))
    return "; ".join(found[:_MOST]) + ("; ..." if len(found) > _MOST else "")


def _differences(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name} {_short(old)} instead of {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:12].rstrip() + '..."'
