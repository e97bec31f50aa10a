"""The check of a reward function."""

import random
from typing import Any

import pytest

from larpo_lib.errors import LarpoError
from larpo_lib.rewards import list_relative
from larpo_lib.testing import check_reward

ROWS: list[dict[str, Any]] = [
    {"prompt": "1 + 2", "response": "three", "reference": "3", "level": 1},
    {"prompt": "1 + 2", "response": "3", "reference": "3", "level": 1},
    {"prompt": [{"role": "user", "content": "3 + 4"}], "response": "7", "reference": "8", "level": 2},
]


def right(responses: list[str], references: list[str], level: list[int], bonus: float) -> list[float]:
    return [bonus * n * (a == b) for a, b, n in zip(responses, references, level, strict=True)]


@list_relative
def shortest(responses: list[str]) -> list[float]:
    return [float(len(response) == min(map(len, responses))) for response in responses]


async def none_for_long(responses: list[str]) -> list[float | None]:
    return [1.0 if len(response) == 1 else None for response in responses]


def test_right_ones_pass_and_their_scores_are_given() -> None:
    assert check_reward(right, ROWS, {"bonus": 2.0}) == [0.0, 2.0, 0.0]
    assert check_reward(shortest, ROWS) == [0.0, 1.0, 1.0]
    assert check_reward(none_for_long, ROWS) == [None, 1.0, 1.0]


def of_the_batch(responses: list[str]) -> list[float]:
    return [float(len(response) == min(map(len, responses))) for response in responses]


@list_relative
def by_place(responses: list[str]) -> list[float]:
    return [float(i) for i in range(len(responses))]


def drawn(responses: list[str]) -> list[float]:
    return [random.random() for _ in responses]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (drawn, r"the score of 'three' is 0\.\d+, but 0\.\d+ a second time"),
        (of_the_batch, r"the score of 'three' is 0\.0, but 1\.0 alone"),
        (by_place, r"the score of 'three' is 0\.0, but 1\.0 in another order"),
    ],
)
def test_scores_that_change_are_found(function: Any, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_reward(function, ROWS)


def test_what_a_run_refuses_is_refused() -> None:
    with pytest.raises(LarpoError, match="right needs 'bonus', which is no column"):
        check_reward(right, ROWS)
