"""Rows in the forms of published data sets: what they say is written by hand, and TRL agrees where it reads them."""

import copy
import json
import re
from typing import Any

import pytest
from datasets import Dataset
from raw_rows import AB, AC, CD, USUAL, Values, assistant, raw, user
from trl import maybe_convert_to_chatml, maybe_extract_prompt, unpair_preference_dataset

from larpo_lib.config import PrepareConfig
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
    rows = [*converted.tables["ranked"]]
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
        out = json.dumps([[*converted.tables["prompts"]], [*converted.tables["ranked"]]])
        plain = json.dumps({name: values[name] for name in taken & {*values}}).replace(DIALOGUE, "")
        for text in re.findall(r'"(?:value|content)": "(\w)"', plain):
            assert f'"{text}"' in out


def test_trl_unpairs_a_pair_into_the_same_responses() -> None:
    values = {"prompt": user("a"), "chosen": AB[1:], "rejected": AC[1:]}
    rows = unpair_preference_dataset(Dataset.from_list([values])).to_list()
    unpaired, paired = ranked(raw(*rows), USUAL).tables, ranked(raw(values), USUAL).tables
    assert [[*unpaired[name]] for name in unpaired] == [[*paired[name]] for name in paired]
