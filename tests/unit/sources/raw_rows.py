"""Raw rows made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from larpo_lib.config.sections import ColumnsConfig
from larpo_lib.sources.conversion import Converted
from larpo_lib.sources.reading import Raw, RawRow

USUAL = ColumnsConfig()
Values = dict[str, Any]
Convert = Callable[[Raw, ColumnsConfig], Converted]


def raw(*rows: Values) -> Raw:
    return Raw("data/x.jsonl", "x.jsonl", [RawRow(10 + index, values) for index, values in enumerate(rows)])


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


AB, AC, CD = user("a") + assistant("b"), user("a") + assistant("c"), user("c") + assistant("d")
