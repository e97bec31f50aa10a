"""Replies of judges that nobody would write: a reading is one that there can be, or none, and takes no time."""

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.evaluation.mixeval.parsing import chosen_option, judged_option, judged_score
from larpo_lib.rewards.rerankers.judge.reading import read_grade, read_rankings, read_verdict, whole_ranking

PIECES = [
    "[[",
    "]]",
    "[",
    "]",
    "1",
    "3",
    "5",
    "9",
    "10",
    ".",
    "5.0",
    "A",
    "B",
    "C",
    ">",
    " > ",
    ">=",
    "=",
    "%",
    " ",
    "\n",
    "\t",
    "<think>",
]
PIECES += [
    "</think>",
    "grade",
    "Score:",
    "is",
    "the ",
    "response ",
    "/",
    "out of",
    "-",
    "**",
    "(",
    ")",
    "٣",
    "²",
    "é",
    "\x00",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
LONG = st.tuples(TEXTS, st.sampled_from(PIECES), st.integers(0, 3000)).map(lambda parts: parts[0] + parts[1] * parts[2])
NUMBERS = st.floats() | st.integers(-3, 3) | st.none()
TOKENS = st.fixed_dictionaries({"token": st.sampled_from(PIECES), "logprob": NUMBERS})
LOGPROBS = st.none() | st.fixed_dictionaries(
    {"content": st.lists(st.tuples(TOKENS, st.lists(TOKENS, max_size=3)).map(lambda t: {**t[0], "top_logprobs": t[1]}))}
)


def said(text: str | None, logprobs: Any = None) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "logprobs": logprobs}]}


@given(TEXTS | LONG | st.none(), LOGPROBS)
def test_any_reply_of_a_judge_is_read_as_what_there_can_be(text: str | None, logprobs: Any) -> None:
    start = time.process_time()
    grade = read_grade(said(text, logprobs), 1, 5)
    assert grade is None or 1 <= grade.value <= 5
    assert grade is None or grade.unread is None or 0 <= grade.unread <= 1
    assert read_verdict(said(text)) in (None, 0.0, 0.5, 1.0)
    order, _ = whole_ranking(read_rankings(said(text)) or [[]], 4)
    assert sorted(order) == [0, 1, 2, 3]
    assert time.process_time() - start < 1


@given(TEXTS | LONG)
def test_any_reply_on_a_question_of_a_benchmark_too(text: str) -> None:
    start = time.process_time()
    score = judged_score(text)
    assert score is None or 0 <= score <= 1
    assert judged_option(text) in (None, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert chosen_option(text, ["one", "two", "three"]) in (None, *"ABC")
    assert time.process_time() - start < 1
