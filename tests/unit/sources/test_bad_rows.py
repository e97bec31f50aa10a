"""Every malformed value ends in one line that names its place."""

import math

import pytest
from raw_rows import AB, AC, USUAL, Convert, Values, assistant, columns, raw, user

from larpo_lib.errors import DataError
from larpo_lib.sources.conversion import demonstrations, prompts, ranked

PROMPT_ERRORS: list[tuple[Values, str]] = [
    (
        {"text": "a", "id": 1},
        r"x\.jsonl: has none of the columns prompt, .*; it has text, id\. Set columns.prompt to one of its columns",
    ),
    ({"prompt": None}, r"x\.jsonl, row 10, field 'prompt': is missing or null"),
    ({"prompt": " \n"}, "field 'prompt': is empty"),
    ({"prompt": 7}, "field 'prompt': is of type int, not text"),
    ({"prompt": "\ud800"}, "surrogate"),
    ({"prompt": []}, "is an empty list"),
    ({"messages": {"role": "user"}}, r"field 'messages\.content': is missing or null"),
    ({"messages": {"text": "a"}}, "field 'messages': is not a list of messages"),
    ({"messages": ["a"]}, r"field 'messages\[0\]': is not a message"),
    (
        {"messages": [{"role": "human?", "content": "a"}]},
        r"field 'messages\[0\]\.role': is 'human\?'\. Known roles: system",
    ),
    ({"messages": [{"content": "a"}]}, r"field 'messages\[0\]\.role': is missing or null"),
    ({"messages": [{"role": ["user"], "content": "a"}]}, r"\.role': is of type list"),
    ({"messages": [*user("a"), {"role": "user", "content": ""}]}, r"field 'messages\[1\]\.content': is empty"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, "is of type list, not text"),
    ({"prompt": AB}, r"ends with a message from 'assistant', not from 'user'\. Set columns.prompt to the column"),
    (
        {"messages": [*AB, *assistant("c")]},
        r"ends with a message from 'assistant', not from 'user'\. Set columns.prompt to the column",
    ),
    ({"prompt": "a", "answer": ["b"]}, "field 'answer': is of type list"),
    ({"prompt": "a", "answer": ""}, "field 'answer': is empty"),
    ({"prompt": "a", "answer": math.nan}, "field 'answer': is nan"),
]
DEMONSTRATION_ERRORS: list[tuple[Values, str]] = [
    (
        {"prompt": "a"},
        r"has none of the columns response, .*; it has prompt\. Set columns.response to one of its columns",
    ),
    ({"prompt": "a", "response": ""}, "field 'response': is empty"),
    ({"messages": user("a")}, "field 'messages': ends with a message from 'user', not from 'assistant'"),
    ({"messages": assistant("a")}, "field 'messages': contains no message before the reply"),
    ({"messages": assistant("a") + assistant("b")}, "ends with a message from 'assistant', not from 'user'"),
    ({"messages": "a"}, "field 'messages': is not a list"),
]
RANKED_ERRORS: list[tuple[Values, str]] = [
    ({"prompt": "a"}, r"has none of the columns response, .*; it has prompt"),
    ({"prompt": "a", "response": "b"}, r"has none of the columns reward, .*columns\.rewards"),
    ({"candidates": [{"response": "b", "score": 1}]}, r"has none of the columns prompt"),
    ({"prompt": "a", "response": "b", "reward": math.nan}, "field 'reward': is nan, not a finite number"),
    ({"prompt": "a", "response": "b", "reward": "-inf"}, "is -inf, not a finite number"),
    ({"prompt": "a", "response": "b", "reward": "good"}, "is 'good', not a number"),
    ({"prompt": "a", "response": "b", "reward": 10**400}, "not a number"),
    ({"prompt": "a", "response": "b", "reward": None}, "field 'reward': is missing or null"),
    ({"prompt": "a", "response": "b", "reward": 1, "model": 7}, "field 'model': is of type int"),
    ({"prompt": "a", "candidates": []}, "field 'candidates': is an empty list"),
    ({"prompt": "a", "candidates": None}, "field 'candidates': is missing or null"),
    ({"prompt": "a", "candidates": "b"}, "field 'candidates': is not a list"),
    (
        {"prompt": "a", "candidates": [{"response": "b", "score": 1}, {"response": None, "score": 1}]},
        r"field 'candidates\[1\]\.response': is missing or null",
    ),
    ({"prompt": "a", "candidates": [{"response": "b"}]}, r"field 'candidates\[0\]\.reward': is missing or null"),
    (
        {"prompt": "a", "candidates": [{"text": "b", "score": 1, "model": ""}]},
        r"field 'candidates\[0\]\.model': is empty",
    ),
    ({"prompt": "a", "responses": ["b", "c"], "rewards": [1]}, "field 'rewards': contains 1 rewards for 2 responses"),
    (
        {"prompt": "a", "responses": ["b", {"response": "c"}], "rewards": [1, 2]},
        r"field 'responses\[1\]': is of type dict",
    ),
    ({"prompt": "a", "responses": ["b"]}, r"has none of the columns rewards, scores"),
    ({"prompt": "a", "chosen": "b", "rejected": None}, "field 'rejected': is missing or null"),
    ({"chosen": "Human: a", "rejected": "b"}, "field 'chosen': is not a list"),
    ({"chosen": AB, "rejected": user("x") + assistant("c")}, "field 'rejected': answers a different prompt"),
    (
        {"chosen": AB, "rejected": [AC, user("x") + assistant("c")]},
        r"field 'rejected\[1\]': answers a different prompt",
    ),
    (
        {"prompt": "a", "chosen": "b", "rejected": ["c", "d"], "rejected_finish_reason": ["stop"]},
        "field 'rejected_finish_reason': contains 1 finish_reason for 2 responses",
    ),
]


@pytest.mark.parametrize(
    ("convert", "values", "message"),
    [
        *((prompts, *case) for case in PROMPT_ERRORS),
        *((demonstrations, *case) for case in DEMONSTRATION_ERRORS),
        *((ranked, *case) for case in RANKED_ERRORS),
    ],
)
def test_bad_value_is_told_with_its_place(convert: Convert, values: Values, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        convert(raw(values), USUAL)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("convert", [prompts, demonstrations, ranked])
def test_named_column_that_is_missing_is_told(convert: Convert) -> None:
    with pytest.raises(DataError, match=r"has no column 'q'; it has prompt, response, reward\. Change columns\.prompt"):
        convert(raw({"prompt": "a", "response": "b", "reward": 1}), columns(prompt="q"))


def test_row_that_lacks_a_column_is_told() -> None:
    with pytest.raises(DataError, match=r"row 11, field 'prompt': is missing or null"):
        prompts(raw({"prompt": "a"}, {"id": 1}), USUAL)
