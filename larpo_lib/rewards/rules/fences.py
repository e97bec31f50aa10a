"""Blocks in code fences, as CommonMark pairs the fences (version 0.31.2, section 4.5)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_OPENER = re.compile(r"([ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(?:(`{3,}+)(?!.*`)|(~{3,}+))(.*)", re.ASCII)
_DEEPER = 4
"""Columns from which on an indented fence closes none."""


class Block(NamedTuple):
    """What stands between two fences.

    Attributes:
        info: what stands behind the opening fence, such as a language.
        content: whole lines, without the indentation that the fence has, too.
    """

    info: str
    content: str


def blocks(text: str) -> list[Block]:
    """The blocks of a text that are not empty.

    A fence may be indented as deep as a list needs, and stand right behind the list's mark. A block that is never
    closed ends before the first line that begins with its fence, else with the text.
    """
    found = []
    lines = iter(text.replace("\r\n", "\n").split("\n"))
    for line in lines:
        opener = _OPENER.fullmatch(line)
        if opener is None:
            continue
        column, fence = len(opener[1].expandtabs(4)), opener[2] or opener[3]
        content: list[str] = []
        for inner in lines:
            if _closes(inner, fence, column):
                break
            content.append(inner)
        else:
            content = content[: _torn(content, fence)]
        if any(inner.strip() for inner in content):
            found.append(Block(opener[4].strip(), _moved(content, column)))
    return found


def _closes(line: str, fence: str, column: int) -> bool:
    bare = line.strip(" \t")
    return len(bare) >= len(fence) and not bare.strip(fence[0]) and _indentation(line) < column + _DEEPER


def _torn(lines: Sequence[str], fence: str) -> int:
    """Where a block ends that is never closed."""
    return next((place for place, line in enumerate(lines) if line.lstrip().startswith(fence)), len(lines))


def _moved(lines: Sequence[str], column: int) -> str:
    """Lines without the fence's indentation, so far as the first of them has it."""
    most = min(column, _indentation(next(line for line in lines if line.strip())))
    return "".join(_less(line, most) + "\n" for line in lines)


def _less(line: str, columns: int) -> str:
    if not columns:
        return line
    bare = line.lstrip(" \t")
    return line[: len(line) - len(bare)].expandtabs(4)[columns:] + bare


def _indentation(line: str) -> int:
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(4))
