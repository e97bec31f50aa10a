"""Rows in the forms of published data sets: what they say is written by hand, and TRL agrees where it reads them."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from datasets import Dataset
from raw_rows import AB, AC, CD, USUAL, Convert, Values, assistant, columns, raw, user
from trl import maybe_convert_to_chatml, maybe_extract_prompt, unpair_preference_dataset

from larpo_lib.config import PrepareConfig
from larpo_lib.errors import DataError
from larpo_lib.sources.conversion import demonstrations, prompts, ranked

SYSTEM = [{"role": "system", "content": "s"}]
HUMAN, GPT = {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}
DIALOGUE = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
TURNS = AB + user("c")


def only_prompt(values: Values, config: PrepareConfig = USUAL) -> Any:
    (row,) = prompts(raw(values), config).tables["prompts"]
    return row["messages"]


def pair(values: Values, config: PrepareConfig = USUAL) -> tuple[Any, list[str], list[float]]:
    converted = ranked(raw(values), config)
    (prompt,) = converted.tables["prompts"]
    rows = converted.tables["ranked"]
    return prompt["messages"], [row["response"] for row in rows], [row["reward"] for row in rows]


PROMPTS: dict[str, tuple[Values, Any]] = {
    "OpenOrca": ({"id": "1", "system_prompt": "s", "question": "a", "response": "b"}, SYSTEM + user("a")),
    "OpenOrca without a system prompt": ({"system_prompt": "", "question": "a", "response": "b"}, user("a")),
    "orca_dpo_pairs": ({"system": "s", "question": "a", "chosen": "b", "rejected": "c"}, SYSTEM + user("a")),
    "distilabel-intel-orca": ({"system": "s", "input": "a", "chosen": "b", "rejected": "c"}, SYSTEM + user("a")),
    "alpaca with history": (
        {"instruction": "c", "input": "x", "output": "d", "system": "s", "history": [["a", "b"]]},
        SYSTEM + AB + user("c\n\nx"),
    ),
    "alpaca with an empty history": ({"instruction": "a", "output": "d", "system": None, "history": []}, user("a")),
    "history of messages": ({"prompt": "c", "history": AB}, TURNS),
    "dolly": ({"instruction": "a", "context": "x", "response": "b", "category": "qa"}, user("a\n\nx")),
    "ShareGPT": ({"conversations": [HUMAN, GPT], "system": "s"}, SYSTEM + user("a")),
    "ShareGPT with a system turn": ({"conversations": [{"from": "system", "value": "s"}, HUMAN]}, SYSTEM + user("a")),
    "ShareGPT whose system turn is repeated": (
        {"conversations": [{"from": "system", "value": "s"}, HUMAN, GPT], "system": "s"},
        SYSTEM + user("a"),
    ),
    "messages that end with the reply": ({"messages": SYSTEM + AB + CD}, SYSTEM + TURNS),
    "empty system message": ({"messages": [{"role": "system", "content": ""}, *AB]}, user("a")),
    "ultrachat_200k": ({"prompt": "a", "prompt_id": "1", "messages": AB + CD}, user("a")),
    "prompt beside a conversation with a system message": (
        {"prompt": "a", "messages": SYSTEM + AB},
        SYSTEM + user("a"),
    ),
    "prompt beside earlier turns": ({"prompt": "c", "messages": AB + CD}, TURNS),
    "hh-rlhf's prompt": ({"prompt": DIALOGUE}, TURNS),
    "hh-rlhf's pair": ({"chosen": DIALOGUE + " d", "rejected": DIALOGUE + " e"}, TURNS),
    "HelpSteer": (
        {"prompt": "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc", "response": "d", "helpfulness": 3},
        TURNS,
    ),
    "WildChat": (
        {"conversation": [{"content": "a", "country": "x", "role": "user"}, AB[1]], "model": "m", "turn": 1},
        user("a"),
    ),
    "system prompt that pandas has not": ({"prompt": "a", "system": float("nan")}, user("a")),
    "pair of conversations": ({"chosen": AB, "rejected": AC}, user("a")),
    "prompt beside a pair of conversations": (
        {"prompt": "c", "chosen": SYSTEM + AB + CD, "rejected": SYSTEM + TURNS + assistant("e")},
        SYSTEM + TURNS,
    ),
    "JSON in a cell": ({"messages": '[{"role": "user", "content": "a"}]'}, user("a")),
    "what pandas writes to CSV": ({"messages": "[{'role': 'user', 'content': \"it's\"}]"}, user("it's")),
    "history as JSON in a cell": ({"prompt": "c", "history": '[["a", "b"]]'}, TURNS),
    "both forms in one table": (
        {"messages": [{"role": None, "content": None, "from": "human", "value": "a"}, {**AB[1], "from": None}]},
        user("a"),
    ),
    "prompt that only looks like JSON": ({"prompt": '[{"a": 1}] is what?'}, user('[{"a": 1}] is what?')),
    "prompt that only speaks of a human": ({"prompt": "Human: who?"}, user("Human: who?")),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompt_of_a_published_form(name: str) -> None:
    values, expected = PROMPTS[name]
    assert only_prompt(values) == expected


def test_rows_that_differ_in_the_system_prompt_are_no_duplicates() -> None:
    rows = [{"system": system, "question": "a"} for system in ("s", "t", "", None, "s")]
    converted = prompts(raw(*rows), USUAL)
    assert [row["messages"] for row in converted.tables["prompts"]] == [
        SYSTEM + user("a"),
        [{"role": "system", "content": "t"}, *user("a")],
        user("a"),
    ]
    assert converted.counts["duplicates_dropped"] == 2


BC = (["b", "c"], [1.0, 0.0])
PAIRS: dict[str, tuple[Values, tuple[Any, list[str], list[float]]]] = {
    "orca_dpo_pairs": ({"system": "s", "question": "a", "chosen": "b", "rejected": "c"}, (SYSTEM + user("a"), *BC)),
    "ultrafeedback_binarized": (
        {
            "prompt": "a",
            "prompt_id": "1",
            "chosen": AB,
            "rejected": AC,
            "messages": AB,
            "score_chosen": 8.0,
            "score_rejected": 7.5,
        },
        (user("a"), *BC),
    ),
    "ultrafeedback-binarized-preferences": (
        {"source": "x", "instruction": "a", "chosen_response": "b", "rejected_response": "c", "chosen_model": "m"},
        (user("a"), *BC),
    ),
    "LLaMA-Factory's ShareGPT": (
        {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "c"}, "system": "s"},
        (SYSTEM + user("a"), *BC),
    ),
    "LLaMA-Factory's Alpaca": (
        {"instruction": "a", "input": "", "chosen": "b", "rejected": "c", "history": []},
        (user("a"), *BC),
    ),
    "hh-rlhf": ({"chosen": DIALOGUE + " d", "rejected": DIALOGUE + " e"}, (TURNS, ["d", "e"], [1.0, 0.0])),
    "TRL's explicit prompt": ({"prompt": user("a"), "chosen": AB[1:], "rejected": AC[1:]}, (user("a"), *BC)),
    "explicit prompt with a system message": (
        {"prompt": SYSTEM + user("a"), "chosen": AB[1:], "rejected": AC[1:]},
        (SYSTEM + user("a"), *BC),
    ),
    "explicit prompt of several turns": (
        {"prompt": TURNS, "chosen": assistant("d"), "rejected": assistant("e")},
        (TURNS, ["d", "e"], [1.0, 0.0]),
    ),
    "explicit prompt and several turns that both share": (
        {"prompt": user("a"), "chosen": AB[1:] + CD, "rejected": AB[1:] + user("c") + assistant("e")},
        (TURNS, ["d", "e"], [1.0, 0.0]),
    ),
    "prompt beside whole conversations": (
        {"prompt": "c", "chosen": SYSTEM + AB + CD, "rejected": SYSTEM + TURNS + assistant("e")},
        (SYSTEM + TURNS, ["d", "e"], [1.0, 0.0]),
    ),
    "first prompt beside whole conversations": (
        {"prompt": "a", "chosen": AB + CD, "rejected": TURNS + assistant("e")},
        (TURNS, ["d", "e"], [1.0, 0.0]),
    ),
    "system prompt beside whole conversations": (
        {"system": "s", "chosen": AB, "rejected": AC},
        (SYSTEM + user("a"), *BC),
    ),
    "JSON in cells": (
        {
            "chosen": '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]',
            "rejected": '[{"from": "human", "value": "a"}, {"from": "gpt", "value": "c"}]',
        },
        (user("a"), *BC),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pair_of_a_published_form(name: str) -> None:
    values, expected = PAIRS[name]
    assert pair(values) == expected


TRL_READS = [
    "ultrafeedback_binarized",
    "TRL's explicit prompt",
    "explicit prompt with a system message",
    "explicit prompt of several turns",
    "prompt beside whole conversations",
    "first prompt beside whole conversations",
]


@pytest.mark.parametrize("name", TRL_READS)
def test_trl_reads_the_same_pair(name: str) -> None:
    values = copy.deepcopy(PAIRS[name][0])
    theirs = maybe_extract_prompt({key: values[key] for key in ("prompt", "chosen", "rejected") if key in values})
    messages, responses, _ = pair(PAIRS[name][0])
    assert theirs["prompt"] == messages
    assert [theirs[key] for key in ("chosen", "rejected")] == [assistant(text) for text in responses]


def test_trl_reads_the_same_sharegpt_conversation() -> None:
    theirs = maybe_convert_to_chatml({"conversations": [dict(HUMAN), dict(GPT)]})["messages"]
    (row,) = demonstrations(raw({"conversations": [HUMAN, GPT]}), USUAL).tables["demonstrations"]
    theirs = [{"role": {"human": "user", "gpt": "assistant"}[m["role"]], "content": m["content"]} for m in theirs]
    assert [*row["messages"], *assistant(row["response"])] == theirs


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"prompt": "a", "completion": "b", "label": True}, ("b", 1.0)),
        ({"prompt": user("a"), "completion": assistant("b"), "label": False}, ("b", 0.0)),
        ({"prompt": "a", "completion": "b", "label": "False"}, ("b", 0.0)),
        ({"instruction": "a", "input": "", "output": "b", "kto_tag": True}, ("b", 1.0)),
        ({"prompt": "a", "response": "b", "helpfulness": 3, "correctness": 4, "verbosity": 1}, ("b", 3.0)),
    ],
)
def test_single_scored_response_of_a_published_form(values: Values, expected: tuple[str, float]) -> None:
    messages, (response,), (reward,) = pair(values)
    assert (messages, response, reward) == (user("a"), *expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"conversations": [HUMAN, GPT], "system": "s"}, (SYSTEM + user("a"), "b")),
        ({"system_prompt": "s", "question": "a", "response": "b"}, (SYSTEM + user("a"), "b")),
        ({"instruction": "c", "output": "d", "history": [["a", "b"]]}, (TURNS, "d")),
        ({"prompt": user("a"), "completion": AB[1:] + CD}, (TURNS, "d")),
        ({"chosen": AB, "rejected": AC}, (user("a"), "b")),
        ({"chosen": DIALOGUE + " d", "rejected": DIALOGUE + " e"}, (TURNS, "d")),
    ],
)
def test_demonstration_of_a_published_form(values: Values, expected: Any) -> None:
    (row,) = demonstrations(raw(values), USUAL).tables["demonstrations"]
    assert (row["messages"], row["response"]) == expected


@pytest.mark.parametrize("values", [values for values, _ in (*PROMPTS.values(), *PAIRS.values())])
def test_every_column_is_taken_or_recorded_as_not_used(values: Values) -> None:
    """And of a pair nothing that was taken is missing in what comes out."""
    pairwise = {"chosen", "chosen_response"} & {*values}
    converted = (ranked if pairwise else prompts)(raw(values), USUAL)
    taken = {name for names in converted.record["taken"].values() for name in names}
    blank = {name for name, value in values.items() if value in (None, "", []) or str(value) == "nan"}
    assert {*values} - blank <= taken | converted.record["not_used"].keys()
    if pairwise:
        out = json.dumps([converted.tables["prompts"], converted.tables["ranked"]])
        plain = json.dumps({name: values[name] for name in taken & {*values}}).replace(DIALOGUE, "")
        for text in re.findall(r'"(?:value|content)": "(\w)"', plain):
            assert f'"{text}"' in out


def test_trl_unpairs_a_pair_into_the_same_responses() -> None:
    values = {"prompt": user("a"), "chosen": AB[1:], "rejected": AC[1:]}
    rows = unpair_preference_dataset(Dataset.from_list([values])).to_list()
    assert ranked(raw(*rows), USUAL).tables == ranked(raw(values), USUAL).tables


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
    assert converted.tables["prompts"][0]["messages"] == user("a")
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
    rows = ranked(raw(values), USUAL).tables["ranked"]
    assert [(row["finish_reason"], row["token_ids"]) for row in rows] == expected
    assert [row["num_tokens"] for row in rows] == [None if ids is None else len(ids) for _, ids in expected]


def test_end_and_token_ids_are_found_by_the_settings_names() -> None:
    named = columns(finish_reason="how", token_ids="ids")
    listed = {"prompt": "a", "candidates": [{"response": "b", "score": 1, "how": "length", "ids": [1]}]}
    beside = {**ROW, "how": ["length", "stop"], "ids": [[1], [2]]}
    single = {"prompt": "a", "response": "b", "reward": 1, "how": "length", "ids": [1]}
    for values in (listed, beside, single):
        row = ranked(raw(values), named).tables["ranked"][0]
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
