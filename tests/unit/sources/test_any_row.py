"""Rows that nobody would write: whatever a cell holds, a row is read, or refused by a DataError that names it."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_rows import AB, AC, USUAL, Convert, raw

from larpo_lib.errors import DataError
from larpo_lib.sources.conversion import demonstrations, prompts, ranked

COLUMNS = (
    *("prompt", "messages", "instruction", "input", "system", "history", "answer", "tools", "response", "reward"),
    *("chosen", "rejected", "responses", "rewards", "finish_reason", "finish_reasons", "token_ids", "model"),
)
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "a",
        "b",
        "[",
        "[]",
        '[{"role": "user", "content": "a"}]',
        "[{'role': 1}]",
        "\n\nHuman: a\n\nAssistant: b",
    ]
) | st.text(max_size=6)
ROLES = st.sampled_from(["system", "user", "assistant", "human", "gpt", "tool", "boss", None])
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": ROLES, "content": TEXTS | st.none()}, optional={"from": ROLES, "value": TEXTS}),
    max_size=5,
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ITEMS = st.dictionaries(st.sampled_from(["response", "score", "content", "role", "finish_reason", "token_ids"]), PLAIN)
VALUES = PLAIN | MESSAGES | ITEMS | st.lists(PLAIN | MESSAGES | ITEMS | st.lists(PLAIN, max_size=3), max_size=3)
GOOD = st.sampled_from(
    [
        {"prompt": "a", "response": "b", "reward": 1},
        {"prompt": "a", "responses": ["b", "c"], "rewards": [1, 0]},
        {"prompt": "a", "candidates": [{"response": "b", "score": 1}, {"response": "c", "score": 0}], "answer": "b"},
        {"messages": AB, "chosen": AB, "rejected": AC},
        {"prompt": "a", "chosen": AB, "rejected": AC, "system": "s"},
    ]
)
ODD = st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=3)
ROWS = st.lists(st.tuples(GOOD, ODD).map(lambda parts: parts[0] | parts[1]), min_size=1, max_size=3)


@pytest.mark.parametrize("convert", [prompts, demonstrations, ranked])
@given(rows=ROWS)
def test_any_row_is_read_or_refused(convert: Convert, rows: list[dict[str, Any]]) -> None:
    for invalid in ("refuse", "drop"):
        told, found = None, None
        try:
            found = convert(raw(*rows), USUAL.model_copy(update={"invalid": invalid}))
        except DataError as error:
            told = str(error)
        if found is None:
            assert told is not None
            assert re.fullmatch(r"data/x\.jsonl(, row 1\d, field '.*')?: .+[.!?]", told)
            continue
        read, dropped = (found.counts[name] for name in ("rows_read", "invalid_rows_dropped"))
        assert (read, dropped == 0) == (len(rows), not found.record["rows_dropped"])
        for messages in (row["messages"] for table in found.tables.values() for row in table if "messages" in row):
            assert messages[-1]["role"] == "user"
