"""What the registry keeps when a policy is evaluated again: all that a later policy can still be compared with."""

from dataclasses import replace
from typing import Any

import pytest
from promotions import judgement

from larpo_lib.steps.judgements import Judgement
from larpo_lib.steps.kept_evaluations import kept, opponents

USUAL = judgement({"p1": 1.0, "p2": 2.0})
OTHER = judgement({"q1": 3.0})
BENCHMARK = Judgement("gpt", {"win_rate": {"i1": 50.0}}, benchmark="alpaca_eval 2")


def rewards(stored: Any) -> list[Any]:
    """Of a version as an opponent, in the order in which it is tried."""
    return [one.judgement and one.judgement.values["reward"] for one in opponents("version 1", stored)]


def test_an_evaluation_on_other_prompts_stands_before_the_earlier_one() -> None:
    first = kept({"evaluate": USUAL}, None)
    second = kept({"evaluate": OTHER}, first)
    assert rewards(first) == [{"p1": 1.0, "p2": 2.0}]
    assert rewards(second) == [{"q1": 3.0}, {"p1": 1.0, "p2": 2.0}]
    third = kept({"evaluate": judgement({"p1": 5.0, "p2": 5.0})}, second)
    assert rewards(third) == [{"p1": 5.0, "p2": 5.0}, {"q1": 3.0}]
    assert rewards(None) == [None]


@pytest.mark.parametrize(
    ("old", "new", "stays"),
    [
        ([USUAL], [USUAL], False),
        ([USUAL], [USUAL, BENCHMARK], False),
        ([USUAL, BENCHMARK], [USUAL], True),  # else the gate of several metrics would miss the benchmark
        ([USUAL], [judgement({"p1": 1.0, "p2": 2.0}, reranker="another")], True),
        ([USUAL], [Judgement("verifier", {**USUAL.values, "accuracy": {"p1": 1.0}})], False),
        ([Judgement("verifier", {**USUAL.values, "accuracy": {"p1": 1.0}})], [USUAL], True),
        ([replace(USUAL, sampling={"temperature": 1.0})], [replace(USUAL, sampling={"temperature": 0.5})], True),
        ([replace(USUAL, sampling={"temperature": 1.0})], [USUAL], True),
        ([USUAL], [replace(USUAL, sampling={"temperature": 1.0})], False),
    ],
)
def test_an_evaluation_stays_unless_the_new_one_stands_in_for_it(
    old: list[Judgement], new: list[Judgement], stays: bool
) -> None:
    stored = kept({one.name: one for one in old}, None)
    found = kept({one.name: one for one in new}, {**stored, "added_later": 1})
    assert [one["values"] for one in found.get("earlier", [])] == ([old[0].values] if stays else [])
    assert len(opponents("version 1", found)) == 1 + stays
