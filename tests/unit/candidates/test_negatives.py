import gzip
import json
import re
from collections import Counter

import pytest
from candidate_rows import TEXTS, bm25, candidates, histories, merge, negatives, ranked, shared_data
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.candidates.negatives import finder
from larpo_lib.config import NegativesConfig
from larpo_lib.schemas import candidate_id, prompt_id


def _pool(*rows):
    return merge([list(rows)], "all")


def _find(kind, pool, prompt, *, texts=TEXTS, count=1, gap=1.0, seed=0):
    config = NegativesConfig(kind=kind, count=count, reward_gap=gap)
    return finder(config, pool, pool.candidates, texts, seed)(pool[prompt])


SAMPLED = _pool(
    ranked("p0", "best", 2.0, sample_index=0, temperature=1.0),
    ranked("p0", "as good", 2.0, sample_index=1, temperature=0.7),
    ranked("p0", "hot", 1.0, sample_index=2, temperature=1.0),
    ranked("p0", "warm", -3.0, sample_index=3, temperature=0.8),
    ranked("p0", "cold", 0.0, sample_index=4, temperature=0.7),
    ranked("p0", "colder", 1.5, sample_index=5, temperature=0.7),
)


def test_hot_and_cold_are_wrong_responses_of_the_extreme_temperatures():
    assert [row["response"] for row in _find("hot", SAMPLED, "p0")] == ["hot"]
    assert {row["response"] for row in _find("cold", SAMPLED, "p0", count=5)} == {"cold", "colder"}


def test_the_seed_decides_between_several_wrong_responses():
    drawn = Counter(_find("cold", SAMPLED, "p0", seed=seed)[0]["response"] for seed in range(200))
    assert drawn.keys() == {"cold", "colder"}
    assert min(drawn.values()) > 60  # 100 expected, standard deviation 7


def test_no_wrong_response_at_the_extreme_temperature_is_no_negative():
    pool = _pool(
        ranked("p0", "right", 1.0, temperature=1.0), ranked("p0", "wrong", 0.0, sample_index=1, temperature=0.7)
    )
    assert _find("hot", pool, "p0") == []
    assert [row["response"] for row in _find("cold", pool, "p0")] == ["wrong"]


COLD_WERE_HOT_TOO = [
    *(ranked("p0", text, 0.0, sample_index=i, temperature=1.0) for i, text in enumerate(("A", "B", "C"))),
    ranked("p0", "right", 1.0, sample_index=3, temperature=1.0),
    ranked("p0", "right", 1.0, sample_index=4, temperature=0.7),
    *(ranked("p0", "A", 0.0, sample_index=i, temperature=0.7) for i in (5, 6, 7)),
]
"""Four samples at each temperature: both of the texts that were sampled cold were sampled hot before."""


def test_a_text_that_was_sampled_at_both_temperatures_is_both_hot_and_cold():
    pool = _pool(*COLD_WERE_HOT_TOO)
    for seed in range(20):
        assert [row["response"] for row in _find("cold", pool, "p0", seed=seed, count=3)] == ["A"]
        assert {row["response"] for row in _find("hot", pool, "p0", seed=seed, count=3)} == {"A", "B", "C"}
    more = _pool(*COLD_WERE_HOT_TOO, ranked("p0", "D", 0.0, sample_index=8, temperature=0.7))
    assert {row["response"] for row in _find("cold", more, "p0", count=3)} == {"A", "D"}


def test_a_prompt_whose_cold_samples_are_all_right_has_no_cold_negative():
    pool = _pool(*COLD_WERE_HOT_TOO[:5])
    assert _find("cold", pool, "p0") == []
    assert len(_find("hot", pool, "p0", count=3)) == 3


def test_a_borrowed_response_becomes_one_to_this_prompt():
    pool = _pool(*candidates("p0", {"a": 3.0, "b": -1.0}), ranked("p1", "c", 9.0, sample_index=4))
    for kind in ("random", "related"):
        [row] = _find(kind, pool, "p0", gap=0.5)
        assert row["candidate_id"] == candidate_id("p0", "c")
        assert (row["prompt_id"], row["response"], row["reward"]) == ("p0", "c", -1.5)
        assert (row["token_ids"], row["finish_reason"]) == ([1, 4], "length")
        assert row["rank"] == 3


def test_a_text_of_the_prompts_own_is_not_borrowed():
    pool = _pool(
        *candidates("p0", {"a": 1.0, "b": 0.0}), *candidates("p1", {"a": 1.0}), *candidates("p2", {"b": 0.0, "c": 1.0})
    )
    for seed in range(20):
        assert [row["response"] for row in _find("random", pool, "p0", seed=seed)] == ["c"]
    assert _find("related", pool, "p0") == []  # p1 has equal texts only, and p2 shares no word


def test_random_draws_from_every_other_prompt_alike():
    pool = _pool(*(ranked(f"p{i}", f"response {i}", 0.0) for i in range(4)))
    drawn = Counter(_find("random", pool, "p1", seed=seed)[0]["response"] for seed in range(600))
    assert drawn.keys() == {"response 0", "response 2", "response 3"}
    assert all(140 < times < 260 for times in drawn.values())  # 200 expected, standard deviation 12


def test_several_borrowed_responses_come_from_several_prompts():
    pool = _pool(
        *(ranked(f"p{i}", f"{i}{letter}", 0.0, sample_index=k) for i in range(4) for k, letter in enumerate("xy"))
    )
    for seed in range(20):
        rows = _find("random", pool, "p0", count=9, seed=seed)
        assert sorted(row["response"][0] for row in rows) == ["1", "2", "3"]


def test_a_prompt_without_words_has_no_related_prompt():
    pool = _pool(*(ranked(f"p{i}", str(i), 0.0) for i in range(4)))
    assert _find("related", pool, "p3") == []
    assert _find("related", pool, "p0", texts=dict.fromkeys(TEXTS, "?!")) == []


def test_a_lone_prompt_has_nobody_to_borrow_from():
    pool = _pool(ranked("p0", "a", 0.0))
    assert _find("random", pool, "p0") == []
    assert _find("related", pool, "p0") == []


@given(histories(), negatives, st.integers(0, 9), st.randoms())
def test_properties_of_every_kind(history, config, seed, random):
    pool = merge(history, "all")
    shuffled = [random.sample(rows, len(rows)) for rows in history]
    again = merge(shuffled, "all")
    find, find_again = (finder(config, lists, lists.candidates, TEXTS, seed) for lists in (pool, again))
    for key, own in pool.items():
        found = find(own)
        assert found == find_again(again[key])
        assert len(found) <= config.count
        assert len({row["response"] for row in found}) == len(found)
        texts = {row["response"] for row in own}
        for row in found:
            assert row["candidate_id"] == candidate_id(key, row["response"])
            if config.kind in ("random", "related"):
                assert row["response"] not in texts
                assert row["reward"] == min(one["reward"] for one in own) - config.reward_gap
            else:
                assert row in own
        if config.kind in ("hot", "cold"):
            sampled = [
                (row["temperature"], row["response"]) for rows in history for row in rows if row["prompt_id"] == key
            ]
            extreme = (max if config.kind == "hot" else min)(temperature for temperature, _ in sampled)
            wrong = {row["response"] for row in own if row["reward"] < max(one["reward"] for one in own)}
            there = wrong & {text for temperature, text in sampled if temperature == extreme}
            assert {row["response"] for row in found} <= there
            assert len(found) == min(config.count, len(there))


def test_related_is_the_prompt_with_the_highest_bm25_score():
    with gzip.open(shared_data("ultrafeedback/prompts_5000.jsonl.gz"), "rt", encoding="utf-8") as file:
        contents = [json.loads(next(file))["context_messages"][0]["content"] for _ in range(60)]
    texts = {prompt_id([{"role": "user", "content": content}]): content for content in contents}
    words = {key: Counter(re.findall(r"\w+", text.lower())) for key, text in texts.items()}
    pool = _pool(*(ranked(key, key, 0.0) for key in texts))
    find = finder(NegativesConfig(kind="related"), pool, pool.candidates, texts, 0)
    for key in texts:
        scores = dict(zip(words, bm25(words[key], [*words.values()]), strict=True))
        del scores[key]
        [row] = find(pool[key])
        assert scores[row["response"]] == pytest.approx(max(scores.values()), rel=1e-5)
