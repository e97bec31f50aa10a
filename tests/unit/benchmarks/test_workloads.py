"""The made-up lists have the lengths they claim, and both sides get the same ones."""

import json
import lzma
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.workloads import (
    END_ID,
    FIRST_WORD_ID,
    PROMPT_OVER_RESPONSE,
    RESPONSE_SIGMA_BETWEEN,
    RESPONSE_SIGMA_WITHIN,
    TokenList,
    even_lists,
    natural_lists,
    pairs_of,
    sequence_tokens,
    unique_tokens,
)

LIST = TokenList([2, 3, 4], [[5, 1], [6, 7, 1], [1], [8, 9, 9, 1]])


def logs(lists: list[TokenList]) -> list[list[float]]:
    return [[math.log(len(response)) for response in item.responses] for item in lists]


def test_every_pair_of_a_list_once_and_the_better_one_first() -> None:
    pairs = pairs_of([LIST])
    assert {pair.prompt == LIST.prompt for pair in pairs} == {True}
    order = [tuple(LIST.responses.index(response) for response in pair.responses) for pair in pairs]
    assert order == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_tokens_by_hand() -> None:
    assert unique_tokens([LIST]) == 3 + 2 + 3 + 1 + 4
    assert sequence_tokens([LIST]) == 4 * 3 + 2 + 3 + 1 + 4
    assert sequence_tokens(pairs_of([LIST])) == 3 * sequence_tokens([LIST])


@pytest.mark.parametrize("count", [32, 2000])
def test_natural_lists_have_the_lengths_of_real_ones(count: int) -> None:
    lists = natural_lists(count, 4, mean_response=200, vocabulary=100, seed=1)
    prompts = statistics.mean(len(item.prompt) for item in lists)
    responses = statistics.mean(len(response) for item in lists for response in item.responses)
    assert prompts / responses == pytest.approx(PROMPT_OVER_RESPONSE, rel=0.1)
    assert responses == pytest.approx(200, rel=0.1)
    within = math.sqrt(statistics.mean(statistics.variance(row) for row in logs(lists)))
    assert within == pytest.approx(RESPONSE_SIGMA_WITHIN, rel=0.15)
    assert max(len(item.prompt) for item in lists) <= 1000


def test_the_spreads_are_those_of_published_responses(shared_data: Callable[[str], Path]) -> None:
    """Of log-lengths, once each model's mean is taken out."""
    with lzma.open(shared_data("alpaca_eval/candidate_lists.jsonl.xz"), "rt", encoding="utf-8") as file:
        rows = [
            {found["generator"]: math.log(max(1, len(found["response"]))) for found in json.loads(line)["candidates"]}
            for line in file
        ]
    means = {name: statistics.mean(row[name] for row in rows) for name in rows[0]}
    rows = [{name: value - means[name] for name, value in row.items()} for row in rows]
    between = statistics.pstdev(statistics.mean(row.values()) for row in rows)
    within = math.sqrt(statistics.mean(statistics.pvariance(row.values()) for row in rows))
    assert between == pytest.approx(RESPONSE_SIGMA_BETWEEN, rel=0.02)
    assert within == pytest.approx(RESPONSE_SIGMA_WITHIN, rel=0.02)


def test_even_lists_are_even() -> None:
    lists = even_lists(3, 8, prompt=20, response=10, vocabulary=50, seed=0)
    assert {(len(item.prompt), len(response)) for item in lists for response in item.responses} == {(20, 10)}
    assert [len(item.responses) for item in lists] == [8, 8, 8]


def test_responses_are_words_and_an_end() -> None:
    for item in natural_lists(50, 3, mean_response=20, vocabulary=10, seed=0):
        assert all(FIRST_WORD_ID <= token < 10 for token in item.prompt)
        for response in item.responses:
            assert response[-1] == END_ID
            assert all(FIRST_WORD_ID <= token < 10 for token in response[:-1])


def test_the_seed_decides() -> None:
    first, again, other = (natural_lists(8, 2, mean_response=20, vocabulary=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
