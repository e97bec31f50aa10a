"""Settings as TOML, which `load` reads back as the very same."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def inline(value: Any) -> str:
    """A value of JSON's kinds on one line. TOML has no null: what is null in a table is left out."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {inline(part)}" for name, part in _stated(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(part) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # JSON's escapes of other planes are no TOML


def document(tree: Mapping[str, Any]) -> str:
    """Nested tables as a file, each under a heading of its own."""
    return "\n".join(_lines(tree, "")).lstrip("\n") + "\n"


def _lines(tree: Mapping[str, Any], place: str) -> Iterator[str]:
    tables = {name: part for name, part in _stated(tree) if isinstance(part, dict)}
    if place:
        yield from ("", f"[{place}]")
    for name, part in _stated(tree):
        if name not in tables:
            yield f"{_key(name)} = {inline(part)}"
    for name, table in tables.items():
        yield from _lines(table, f"{place}.{_key(name)}" if place else _key(name))


def _stated(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, part) for name, part in tree.items() if part is not None)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else inline(name)
