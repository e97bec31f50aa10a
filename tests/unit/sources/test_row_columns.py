"""What becomes of the columns of rows: taken, recorded as not used, refused, or kept with a response."""

import pytest
from raw_rows import AB, AC, CD, USUAL, Convert, Values, columns, raw, user

from larpo_lib.errors import DataError
from larpo_lib.sources.conversion import demonstrations, prompts, ranked

SYSTEM = [{"role": "system", "content": "s"}]
HUMAN, GPT = {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}
DIALOGUE = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
TURNS = AB + user("c")


REFUSED: list[tuple[Convert, Values, str]] = [
    (prompts, {"prompt": "x", "messages": AB}, "'messages': does not contain the prompt.*columns.ignore"),
    (prompts, {"messages": SYSTEM + AB, "system": "t"}, "starts with a different system prompt"),
    (prompts, {"prompt": "a", "history": user("b")}, "does not continue its history"),
    (prompts, {"prompt": "a", "history": "b"}, "'history': is not a list"),
    (prompts, {"prompt": "a", "history": [["a", None]]}, r"'history\[0\]\[1\]': is missing"),
    (prompts, {"prompt": "a", "tools": [{"name": "f"}]}, "'tools': is part of the prompt.*columns.ignore"),
    (prompts, {"messages": [{**AB[0], "from": "gpt"}]}, "has both role and from, with different values"),
    (
        prompts,
        {"messages": [*user("a"), {"role": "assistant", "content": "", "tool_calls": [1]}]},
        "contains tool calls",
    ),
    (
        prompts,
        {"messages": "[{'role': 'user' 'content': 'a'}]"},
        "looks like a list or messages, but is not valid JSON",
    ),
    (
        ranked,
        {"prompt": "x", "chosen": AB, "rejected": AC},
        "'chosen': is a conversation that does not contain the prompt",
    ),
    (
        ranked,
        {"prompt": user("a"), "chosen": AB[1:] + CD, "rejected": AC[1:] + CD},
        "'rejected': answers a different prompt",
    ),
    (ranked, {"chosen": DIALOGUE + " d", "rejected": "\n\nHuman: a\n\nAssistant: c"}, "answers a different prompt"),
    (ranked, {"chosen": DIALOGUE, "rejected": DIALOGUE + " e"}, "'chosen': ends with a message from 'user'"),
    (
        ranked,
        {"prompt": "a", "responses": [AB, CD], "rewards": [1, 0]},
        r"'responses\[1\]': is a conversation that does not",
    ),
]


@pytest.mark.parametrize(("convert", "values", "message"), REFUSED)
def test_row_whose_columns_do_not_fit_is_refused(convert: Convert, values: Values, message: str) -> None:
    with pytest.raises(DataError, match=message):
        convert(raw(values), USUAL)


def test_ignored_columns_are_not_looked_at() -> None:
    values = {"prompt": "a", "messages": CD, "system": "s", "tools": ["f"]}
    converted = prompts(raw(values), columns(ignore=["messages", "system", "tools"]))
    assert [row["messages"] for row in converted.tables["prompts"]] == [user("a")]
    assert converted.record["ignored"] == ["messages", "system", "tools"]
    with pytest.raises(DataError, match=r"has no column 'sytem'; it has prompt.* Change columns\.ignore"):
        prompts(raw(values), columns(ignore=["sytem"]))


def test_what_is_taken_and_what_is_not_is_recorded() -> None:
    rows = [
        {"id": 1, "question": "a", "answer": "4", "system": "s", "note": None, "messages": [{**AB[0], "weight": 1}]},
        {"id": 2, "question": "b", "answer": "5", "system": "", "note": "n", "messages": None},
    ]
    converted = prompts(raw(*rows), columns(prompt="question"))
    assert converted.record == {
        "source": "x.jsonl",
        "taken": {"prompt": ["question"], "reference": ["answer"], "system": ["system"]},
        "ignored": [],
        "not_used": {"id": 2, "messages": 1, "note": 1},
        "files_not_read": [],
        "rows_dropped": [],
    }
    assert converted.counts["columns_not_used"] == 3
    listed = {"prompt": "a", "candidates": [{"response": "b", "score": 1, "why": "w"}, {"response": "c", "score": 0}]}
    record = ranked(raw(listed), USUAL).record
    assert record["taken"] == {
        "prompt": ["prompt"],
        "response": ["candidates[].response"],
        "responses": ["candidates"],
        "rewards": ["candidates[].score"],
    }
    assert record["not_used"] == {"candidates[].why": 1}
    assert prompts(raw({"messages": [{**AB[0], "weight": 1}]}), USUAL).record["not_used"] == {"messages[].weight": 1}


def test_changes_are_counted_by_row() -> None:
    rows = [
        {"messages": AB},
        {"messages": [{"role": "system", "content": " "}, *user("b")]},
        {"messages": '[{"role": "user", "content": "c"}]'},
        {"messages": DIALOGUE},
        {"messages": AB + CD + user("e"), "prompt": "a"},
    ]
    counts = prompts(raw(*rows[:4]), USUAL).counts
    assert {name: counts[name] for name in counts if counts[name]} == {
        "rows_read": 4,
        "replies_dropped": 1,
        "empty_system_messages_dropped": 1,
        "json_cells_read": 1,
        "dialogues_split": 1,
    }
    assert prompts(raw(rows[4]), USUAL).counts["conversations_cut_at_prompt"] == 1


@pytest.mark.parametrize("convert", [prompts, demonstrations, ranked])
def test_rows_that_cannot_be_used_are_dropped_where_that_is_wanted(convert: Convert) -> None:
    good = {"prompt": "a", "response": "b", "reward": 1, "note": "n"}
    config = USUAL.model_copy(update={"invalid": "drop"})
    rows = [good, {**good, "prompt": " "}, {**good, "prompt": [{"role": "boss", "content": "x"}]}]
    converted = convert(raw(*rows), config)
    assert [len(table) for table in converted.tables.values()] == [1] * len(converted.tables)
    assert (converted.counts["rows_read"], converted.counts["invalid_rows_dropped"]) == (3, 2)
    assert converted.record["rows_dropped"] == [
        {"file": "", "row": 11, "why": "row 11, field 'prompt': is empty."},
        {
            "file": "",
            "row": 12,
            "why": "row 12, field 'prompt[0].role': is 'boss'. Known roles: system, user, assistant, "
            "tool, human, gpt, chatgpt, observation.",
        },
    ]
    assert converted.record["not_used"]["note"] == 1
    with pytest.raises(DataError, match=r"contains no usable row. The first one: row 10, field 'prompt': is empty"):
        convert(raw({**good, "prompt": ""}), config)


ROW = {"prompt": "a", "responses": ["b", "c"], "rewards": [1, 0]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (ROW, [("unknown", None), ("unknown", None)]),
        ({**ROW, "finish_reasons": ["eos_token", "max_tokens"]}, [("stop", None), ("length", None)]),
        (
            {**ROW, "finish_reason": [None, "length"], "token_ids": [[5, 2], None]},
            [("unknown", [5, 2]), ("length", None)],
        ),
        (
            {
                "prompt": "a",
                "candidates": [
                    {"response": "b", "score": 1, "finish_reason": "length", "token_ids": [5, 6]},
                    {"response": "c", "score": 0},
                ],
            },
            [("length", [5, 6]), ("unknown", None)],
        ),
        (
            {
                "prompt": "a",
                "chosen": "b",
                "rejected": "c",
                "rejected_finish_reason": "length",
                "chosen_token_ids": [3],
            },
            [("unknown", [3]), ("length", None)],
        ),
        (
            {"prompt": "a", "response": "b", "reward": 1, "stop_reason": "end_turn", "token_ids": "[7, 8]"},
            [("stop", [7, 8])],
        ),
    ],
)
def test_end_and_token_ids_of_a_response_are_kept(values: Values, expected: list[tuple[str, list[int] | None]]) -> None:
    rows = [*ranked(raw(values), USUAL).tables["ranked"]]
    assert [(row["finish_reason"], row["token_ids"]) for row in rows] == expected
    assert [row["num_tokens"] for row in rows] == [None if ids is None else len(ids) for _, ids in expected]


def test_end_and_token_ids_are_found_by_the_settings_names() -> None:
    named = columns(finish_reason="how", token_ids="ids")
    listed = {"prompt": "a", "candidates": [{"response": "b", "score": 1, "how": "length", "ids": [1]}]}
    beside = {**ROW, "how": ["length", "stop"], "ids": [[1], [2]]}
    single = {"prompt": "a", "response": "b", "reward": 1, "how": "length", "ids": [1]}
    for values in (listed, beside, single):
        row = next(iter(ranked(raw(values), named).tables["ranked"]))
        assert (row["finish_reason"], row["token_ids"]) == ("length", [1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**ROW, "finish_reasons": ["stop"]}, "'finish_reasons': contains 1 finish_reason for 2 responses"),
        ({**ROW, "finish_reasons": ["stop", "content_filter"]}, r"'finish_reasons\[1\]': is 'content_filter'"),
        ({**ROW, "token_ids": [[1], [2, -1]]}, r"'token_ids\[1\]': contains -1 at position 1, which is not a token id"),
        ({**ROW, "token_ids": [[1], ["x"]]}, "contains 'x' at position 0"),
    ],
)
def test_end_or_token_ids_that_cannot_be_are_told(values: Values, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ranked(raw(values), USUAL)
