import math
from collections import Counter

import pytest
from candidate_rows import PROMPTS, alpaca_lists, build, candidates, configs, histories, prompt, ranked
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.candidates.selections.by_rank import BestWorstConfig, OneVsRestConfig, WholeListConfig
from larpo_lib.config import FiltersConfig, ListsConfig, NegativesConfig
from larpo_lib.schemas import SCHEMAS, candidate_id, prompt_id

WHOLE = ListsConfig(selection=WholeListConfig())


def test_a_list_by_hand():
    history = [candidates("p0", {"a": 1.0, "b": 3.0, "c": 2.0})]
    lists, counts = build([prompt("p0")], history, WHOLE)
    assert lists == [
        {
            "prompt_id": "p0",
            "messages": [{"role": "user", "content": "add two apples"}],
            "candidate_ids": [candidate_id("p0", text) for text in "bca"],
            "responses": ["b", "c", "a"],
            "token_ids": [[1, 1], [1, 2], [1, 0]],
            "rewards": [3.0, 2.0, 1.0],
            "finish_reasons": ["stop", "length", "stop"],
            "negative_kinds": ["", "", ""],
        }
    ]
    assert list(lists[0]) == SCHEMAS["lists"].names
    assert (counts["mean_list_size"], counts["mean_reward_gap"], counts["tied_pairs"]) == (3.0, 2.0, 0)


def test_every_drop_is_counted_by_hand():
    history = [
        [ranked("p0", "forgotten", 4.0)],
        [
            *candidates("p0", {"a": 2.0, "b": 1.0, "c": 1.0, "d": 0.0}),
            ranked("p0", "a", 2.0, sample_index=9),
            *candidates("p1", {"a": 1.0, "b": 1.0, "c": 1.0}),
            *candidates("p2", {"a": 1.0}),
            ranked("p2", "a", 1.0, sample_index=9),
        ],
    ]
    lists, counts = build(PROMPTS, history, ListsConfig(selection=OneVsRestConfig(), memory="current"))
    assert [row["responses"][0] for row in lists] == ["a"]
    assert counts == {
        "prompts": 4,
        "prompts_without_candidates": 1,
        "lists": 1,
        "lists_dropped_single": 1,
        "lists_dropped_all_tied": 1,
        "lists_dropped_no_negative": 0,
        "lists_short_of_negatives": 0,
        "candidates": 11,
        "candidates_not_remembered": 1,
        "duplicates_dropped": 2,
        "duplicate_share": 0.2,
        "candidates_in_dropped_lists": 4,
        "candidates_not_selected": 0,
        "responses": 4,
        "responses_borrowed": 0,
        "mean_list_size": 4.0,
        "mean_reward_gap": 2.0,
        "tied_pairs": 1,
        "pairs_tied_in_float32": 0,
        "tied_pair_share": pytest.approx(1 / 6),
    }


def test_negatives_replace_all_but_the_best():
    history = [[*candidates("p0", {"a": 2.0, "b": 1.0}), *candidates("p1", {"x": 5.0}), *candidates("p2", {"y": 5.0})]]
    lists, counts = build(PROMPTS, history, ListsConfig(negatives=NegativesConfig(kind="related", count=2)))
    # p0 and p1 share the word "two"; p2 shares none with either.
    assert [(row["responses"], row["rewards"], row["negative_kinds"]) for row in lists] == [
        (["a", "x"], [2.0, 0.0], ["", "related"]),
        (["x", lists[1]["responses"][1]], [5.0, 4.0], ["", "related"]),
    ]
    assert counts["lists_dropped_no_negative"] == 1
    assert counts["lists_short_of_negatives"] == 2
    assert counts["responses_borrowed"] == 2


def test_a_prompt_without_a_hot_wrong_response_is_dropped_and_counted():
    rows = [ranked("p0", "right", 1.0, temperature=1.0), ranked("p0", "wrong", 0.0, sample_index=1, temperature=0.5)]
    lists, counts = build(PROMPTS, [rows], ListsConfig(negatives=NegativesConfig(kind="hot")))
    assert lists == []
    assert (counts["lists_dropped_no_negative"], counts["candidates_in_dropped_lists"]) == (1, 2)
    assert (counts["mean_list_size"], counts["mean_reward_gap"], counts["tied_pair_share"]) == (None, None, None)


def test_what_a_filter_leaves_out_was_sampled_nonetheless():
    """The cold response is too long for the filter: there is no cold negative, not even a hot one."""
    rows = [
        ranked("p0", "right", 1.0, temperature=1.0),
        ranked("p0", "wrong", 0.0, sample_index=1, temperature=1.0),
        ranked("p0", "wrong at length", 0.0, sample_index=2, temperature=0.7),
    ]
    shorter = FiltersConfig(max_length_ratio=2)
    lists, counts = build(PROMPTS, [rows], ListsConfig(negatives=NegativesConfig(kind="cold"), filters=shorter))
    assert (lists, counts["lists_dropped_no_negative"], counts["other_lengths_dropped"]) == ([], 1, 1)
    lists, _ = build(PROMPTS, [rows], ListsConfig(negatives=NegativesConfig(kind="hot"), filters=shorter))
    assert [row["responses"] for row in lists] == [["right", "wrong"]]


@given(histories(), configs)
def test_every_prompt_and_every_candidate_is_accounted_for(history, config):
    lists, counts = build(PROMPTS, history, config)
    assert all(value is None or value >= 0 for value in counts.values())
    assert counts["lists"] == len(lists)
    assert (
        counts["prompts"]
        == len(PROMPTS)
        == counts["lists"]
        + counts["prompts_without_candidates"]
        + sum(counts[f"lists_dropped_{why}"] for why in ("single", "all_tied", "no_negative"))
    )
    kinds = Counter(kind for row in lists for kind in row["negative_kinds"])
    own = kinds[""] + kinds["hot"] + kinds["cold"]
    assert counts["responses_borrowed"] == kinds["random"] + kinds["related"]
    assert counts["responses"] == kinds.total()
    assert (
        sum(len(rows) for rows in history)
        == counts["candidates"]
        == own
        + sum(
            counts[name]
            for name in (
                "candidates_not_remembered",
                "duplicates_dropped",
                "candidates_in_dropped_lists",
                "candidates_not_selected",
            )
        )
    )


@given(histories(), configs, st.randoms())
def test_lists_can_be_trained_on_and_do_not_depend_on_order(history, config, random):
    lists, counts = build(PROMPTS, history, config)
    shuffled = [random.sample(rows, len(rows)) for rows in history]
    assert build(random.sample(PROMPTS, len(PROMPTS)), shuffled, config) == (lists, counts)
    assert [row["prompt_id"] for row in lists] == sorted({row["prompt_id"] for row in lists})
    for row in lists:
        assert len(set(row["responses"])) == len(row["responses"]) >= 2
        assert row["rewards"] == sorted(row["rewards"], reverse=True)
        assert row["rewards"][0] > row["rewards"][-1]
        assert len({len(value) for name, value in row.items() if name not in ("prompt_id", "messages")}) == 1
        assert row["negative_kinds"][0] == ""
        assert set(row["negative_kinds"][1:]) == {config.negatives.kind if config.negatives else ""}


@given(histories(), configs, st.sampled_from([row["prompt_id"] for row in PROMPTS]))
def test_without_borrowing_a_prompts_list_depends_on_its_own_candidates_only(history, config, key):
    if config.negatives is not None and config.negatives.kind in ("random", "related"):
        config = config.model_copy(update={"negatives": None})
    together, _ = build(PROMPTS, history, config)
    alone, _ = build(PROMPTS, [[row for row in rows if row["prompt_id"] == key] for rows in history], config)
    assert alone == [row for row in together if row["prompt_id"] == key]


@pytest.fixture(scope="module")
def published():
    """Published lists as (prompts, rows, {prompt_id: {text: score}}); of equal texts the first one counts."""
    prompts, rows, scores = {}, [], {}
    for entry in alpaca_lists():
        key = prompt_id([{"role": "user", "content": entry["instruction"]}])
        prompts[key] = prompt(key, entry["instruction"])
        own = scores.setdefault(key, {})
        for candidate in entry["candidates"]:
            rows.append(ranked(key, candidate["response"], candidate["score"], sample_index=len(rows)))
            own.setdefault(candidate["response"], candidate["score"])
    return list(prompts.values()), rows, scores


def test_published_lists_whole(published):
    prompts, rows, scores = published
    lists, counts = build(prompts, [rows], WHOLE)
    usable = {key: own for key, own in scores.items() if len(set(own.values())) > 1}
    ties = sum(math.comb(times, 2) for own in usable.values() for times in Counter(own.values()).values())
    pairs = sum(math.comb(len(own), 2) for own in usable.values())
    assert counts["candidates"] == len(rows) == 805 * 9
    assert counts["duplicates_dropped"] == len(rows) - sum(map(len, scores.values()))
    assert counts["lists"] == len(lists) == len(usable)
    assert counts["tied_pairs"] == ties > 0
    assert counts["tied_pair_share"] == pytest.approx(ties / pairs)
    assert counts["mean_reward_gap"] == pytest.approx(
        sum(max(own.values()) - min(own.values()) for own in usable.values()) / len(usable)
    )
    for row in lists:
        assert sorted(scores[row["prompt_id"]].items()) == sorted(zip(row["responses"], row["rewards"], strict=True))


def test_published_lists_as_pairs(published):
    prompts, rows, scores = published
    lists, counts = build(prompts, [rows], ListsConfig(selection=BestWorstConfig()))
    assert counts["responses"] == 2 * len(lists)
    for row in lists:
        own = scores[row["prompt_id"]]
        assert row["rewards"] == [max(own.values()), min(own.values())]
        assert [own[text] for text in row["responses"]] == row["rewards"]
