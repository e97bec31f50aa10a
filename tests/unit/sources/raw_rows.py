"""Raw rows made by hand."""

from collections.abc import Callable
from typing import Any

from larpo_lib.config import PrepareConfig
from larpo_lib.sources.conversion import Converted
from larpo_lib.sources.reading import Raw, RawRow

Values = dict[str, Any]
Convert = Callable[[Raw, PrepareConfig], Converted]


def columns(**named: Any) -> PrepareConfig:
    return PrepareConfig.model_validate({"source": "data/x.jsonl", "columns": named})


USUAL = columns()


UNTOUCHED = dict.fromkeys(
    (
        "invalid_rows_dropped",
        "columns_not_used",
        "replies_dropped",
        "conversations_cut_at_prompt",
        "dialogues_split",
        "json_cells_read",
        "empty_system_messages_dropped",
    ),
    0,
)


def raw(*rows: Values) -> Raw:
    return Raw("data/x.jsonl", "x.jsonl", [RawRow(10 + index, values) for index, values in enumerate(rows)])


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


AB, AC, CD = user("a") + assistant("b"), user("a") + assistant("c"), user("c") + assistant("d")
