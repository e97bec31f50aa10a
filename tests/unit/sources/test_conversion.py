"""Rows as published data sets have them, by hand and from the published files; the expected values are written out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_rows import AB, AC, CD, UNTOUCHED, USUAL, Convert, Values, assistant, columns, raw, user
from scipy.stats import rankdata

from larpo_lib.schemas import candidate_id, prompt_id
from larpo_lib.sources.conversion import Converted, demonstrations, prompts, ranked
from larpo_lib.sources.reading import Raw, read_file

SYSTEM = {"role": "system", "content": " s "}
SHARED = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}]
ONE = [("b", 1.0, "x.jsonl")]
PAIR = [("b", 1.0, "x.jsonl"), ("c", 0.0, "x.jsonl")]
TWO_REJECTED = [*PAIR, ("d", 0.0, "x.jsonl")]


def scored(converted: Converted) -> list[tuple[str, float, str]]:
    return [(row["response"], row["reward"], row["policy"]) for row in converted.tables["ranked"]]


@pytest.mark.parametrize(
    ("values", "messages", "reference"),
    [
        ({"question": "2+2?", "answer": "#### 4"}, user("2+2?"), "#### 4"),
        ({"problem": "2+2?", "answer": 4, "solution": "It is 4."}, user("2+2?"), "4"),
        ({"prompt": "a", "target": 0.5}, user("a"), "0.5"),
        ({"prompt": "a", "reference": None}, user("a"), None),
        ({"context_messages": [{"content": "a", "role": "user"}]}, user("a"), None),
        ({"prompt": "a", "messages": AB}, user("a"), None),
        ({"messages": [SYSTEM, *user("a")]}, [SYSTEM, *user("a")], None),
        ({"conversations": SHARED}, AB + user("c"), None),
        ({"instruction": "Sort this.", "input": "3 1 2", "output": "1 2 3"}, user("Sort this.\n\n3 1 2"), None),
        ({"instruction": "Say hi.", "input": ""}, user("Say hi."), None),
    ],
)
def test_prompt_and_reference_are_found(values: Values, messages: Any, reference: str | None) -> None:
    (row,) = prompts(raw(values), USUAL).tables["prompts"]
    assert row == {"prompt_id": prompt_id(messages), "messages": messages, "reference": reference, "source": "x.jsonl"}


def test_duplicate_prompts_are_dropped_and_disagreements_counted() -> None:
    rows = [("a", "1"), ("b", "2"), ("a", "1"), ("a", "3"), ("b", None)]
    converted = prompts(raw(*({"prompt": prompt, "answer": answer} for prompt, answer in rows)), USUAL)
    assert [(row["messages"], row["reference"]) for row in converted.tables["prompts"]] == [
        (user("a"), "1"),
        (user("b"), "2"),
    ]
    assert converted.counts == UNTOUCHED | {"rows_read": 5, "duplicates_dropped": 3, "reference_conflicts": 2}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"messages": AB}, (user("a"), "b")),
        ({"messages": AB + CD, "prompt": "a"}, (AB + user("c"), "d")),
        ({"conversations": SHARED[:2]}, (user("a"), "b")),
        ({"prompt": "a", "completion": "b"}, (user("a"), "b")),
        ({"prompt": user("a"), "completion": assistant("b")}, (user("a"), "b")),
        ({"question": "a", "answer": "b #### 1"}, (user("a"), "b #### 1")),
        ({"problem": "a", "answer": "1", "solution": "b"}, (user("a"), "b")),
        ({"instruction": "a", "input": "x", "output": "b"}, (user("a\n\nx"), "b")),
        ({"prompt": "a", "chosen": AB, "rejected": AC}, (user("a"), "b")),
    ],
)
def test_demonstration_is_found(values: Values, expected: tuple[Any, str]) -> None:
    (row,) = demonstrations(raw(values), USUAL).tables["demonstrations"]
    assert (row["messages"], row["response"]) == expected
    assert (row["prompt_id"], row["source"]) == (prompt_id(expected[0]), "x.jsonl")


def test_equal_demonstrations_are_dropped_and_others_of_a_prompt_kept() -> None:
    rows = [("a", "1"), ("a", "2"), ("a", "1"), ("b", "1")]
    converted = demonstrations(raw(*({"prompt": prompt, "response": response} for prompt, response in rows)), USUAL)
    assert [(row["messages"][0]["content"], row["response"]) for row in converted.tables["demonstrations"]] == [
        ("a", "1"),
        ("a", "2"),
        ("b", "1"),
    ]
    assert converted.counts == UNTOUCHED | {"rows_read": 4, "duplicates_dropped": 1}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {
                "prompt": "a",
                "candidates": [{"response": "b", "score": 2, "generator": "g"}, {"output": "c", "reward": 1}],
            },
            [("b", 2.0, "g"), ("c", 1.0, "x.jsonl")],
        ),
        (
            {"instruction": "a", "completions": [{"response": "b", "overall_score": 7.5, "model": "m"}]},
            [("b", 7.5, "m")],
        ),
        ({"prompt": "a", "responses": ["b", "c"], "scores": [1, -0.0]}, PAIR),
        ({"prompt": "a", "responses": ["b"], "rewards": [True]}, ONE),
        ({"prompt": "a", "response": "b", "reward": "0.25", "model": "m"}, [("b", 0.25, "m")]),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, PAIR),
        ({"prompt": "a", "chosen": AB, "rejected": AC}, PAIR),
        ({"prompt": "a", "chosen": "b", "rejected": ["c"]}, PAIR),
        ({"prompt": "a", "chosen": "b", "rejected": ["c", "d"]}, TWO_REJECTED),
        ({"prompt": "a", "chosen": assistant("b"), "rejected": [assistant("c"), assistant("d")]}, TWO_REJECTED),
        ({"chosen": AB, "rejected": [AC, user("a") + assistant("d")]}, TWO_REJECTED),
        ({"chosen": AB, "rejected": AC}, PAIR),
    ],
)
def test_scored_responses_are_found(values: Values, expected: list[tuple[str, float, str]]) -> None:
    converted = ranked(raw(values), USUAL)
    assert scored(converted) == expected
    assert [row["messages"] for row in converted.tables["prompts"]] == [user("a")]


def test_rows_of_one_prompt_make_one_list() -> None:
    rows = [("a", "x", 1.0), ("b", "y", 0.0), ("a", "z", 3.0), ("a", "x", 1.0), ("a", "z", 4.0), ("a", "w", 1.0)]
    converted = ranked(raw(*({"prompt": p, "response": r, "reward": s, "answer": "7"} for p, r, s in rows)), USUAL)
    a, b = prompt_id(user("a")), prompt_id(user("b"))
    found = [
        (r["prompt_id"], r["response"], r["reward"], r["rank"], r["sample_index"]) for r in converted.tables["ranked"]
    ]
    assert found == [(a, "x", 1.0, 2, 0), (a, "z", 3.0, 1, 1), (a, "w", 1.0, 2, 2), (b, "y", 0.0, 1, 0)]
    assert [(row["prompt_id"], row["reference"]) for row in converted.tables["prompts"]] == [(a, "7"), (b, "7")]
    assert converted.counts == UNTOUCHED | {
        "rows_read": 6,
        "duplicates_dropped": 2,
        "reference_conflicts": 0,
        "reward_conflicts": 1,
    }
    first, *_ = converted.tables["ranked"]
    assert first["candidate_id"] == candidate_id(a, "x")
    fixed = ("iteration", "temperature", "token_ids", "num_tokens", "finish_reason", "policy", "reranker")
    assert [first[name] for name in fixed] == [0, None, None, None, "unknown", "x.jsonl", "source"]


@given(st.lists(st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=12))
def test_ranks_are_competition_ranks(rewards: list[float]) -> None:
    values = {"prompt": "a", "responses": [str(index) for index in range(len(rewards))], "rewards": rewards}
    found = [row["rank"] for row in ranked(raw(values), USUAL).tables["ranked"]]
    assert found == list(rankdata([-reward for reward in rewards], method="min"))


@pytest.mark.parametrize(
    ("convert", "named", "values", "expected"),
    [
        (prompts, {"prompt": "q"}, {"q": "a", "prompt": "b"}, user("a")),
        (prompts, {"messages": "chat"}, {"chat": user("a"), "prompt": "b"}, user("a")),
        (prompts, {"prompt": "instruction"}, {"instruction": "a", "input": "x"}, user("a")),
        (prompts, {"reference": "gold"}, {"prompt": "a", "gold": "g", "answer": "h"}, "g"),
        (demonstrations, {"response": "best"}, {"messages": user("a"), "best": "b", "response": "c"}, (user("a"), "b")),
        (demonstrations, {"prompt": "q"}, {"q": "a", "messages": CD, "output": "b"}, (user("a"), "b")),
        (demonstrations, {"messages": "chat"}, {"chat": AB, "messages": 1}, (user("a"), "b")),
        (ranked, {"responses": "r", "rewards": "s"}, {"prompt": "a", "r": ["b"], "s": [1]}, ONE),
        (ranked, {"responses": "l", "response": "r", "rewards": "s"}, {"prompt": "a", "l": [{"r": "b", "s": 1}]}, ONE),
        (ranked, {"response": "answer", "rewards": "s"}, {"prompt": "a", "answer": "b", "s": 1, "candidates": 1}, ONE),
    ],
)
def test_named_columns_win(convert: Convert, named: Values, values: Values, expected: Any) -> None:
    converted = convert(raw(values), columns(**named))
    if convert is prompts:
        (row,) = converted.tables["prompts"]
        assert expected in (row["messages"], row["reference"])
    elif convert is demonstrations:
        (row,) = converted.tables["demonstrations"]
        assert (row["messages"], row["response"]) == expected
    else:
        assert scored(converted) == expected
        assert [row["reference"] for row in converted.tables["prompts"]] == [None]


def published(path: Path) -> Raw:
    return read_file(path, str(path))


def test_published_prompts(shared_data: Callable[[str], Path]) -> None:
    feedback = prompts(published(shared_data("ultrafeedback/prompts_5000.jsonl.gz")), USUAL)
    assert feedback.counts == UNTOUCHED | {"rows_read": 5000, "duplicates_dropped": 0, "reference_conflicts": 0}
    assert [*feedback.tables["prompts"]][1]["messages"] == user(
        "What are the ethical implications of using artificial intelligence in decision-making processes?"
    )
    problems = published(shared_data("gsm8k/test.jsonl.gz"))
    as_prompts, as_demonstrations = prompts(problems, USUAL), demonstrations(problems, USUAL)
    assert next(iter(as_prompts.tables["prompts"]))["reference"].endswith("#### 18")
    assert [row["reference"] for row in as_prompts.tables["prompts"]] == [
        row["response"] for row in as_demonstrations.tables["demonstrations"]
    ]
    assert len(as_prompts.tables["prompts"]) == 1319


def test_published_lists_keep_their_order_and_scores(shared_data: Callable[[str], Path]) -> None:
    found = ranked(published(shared_data("alpaca_eval/candidate_lists.jsonl.xz")), USUAL)
    assert len(found.tables["prompts"]) == 805
    assert len(found.tables["ranked"]) == 805 * 9 - 43
    assert found.counts["duplicates_dropped"] == 43
    assert {row["reward"] for row in found.tables["ranked"] if row["policy"] == "gpt4_1106_preview"} == {0.5}
    best = [row for row in [*found.tables["ranked"]][:9] if row["rank"] == 1]
    assert [row["policy"] for row in best] == ["FuseChat-Gemma-2-9B-Instruct"]
