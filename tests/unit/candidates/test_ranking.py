from candidate_rows import candidates, iterations, ranked
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from larpo_lib.candidates.ranking import best_first, by_prompt, drop_duplicates, pairs_tied_in_float32, ranks

finite = st.floats(allow_nan=False, allow_infinity=False)


def test_ties_share_a_rank_and_the_next_counts_on():
    assert ranks([0.5, 2.0, 0.5, -1.0]) == [2, 1, 2, 4]
    assert ranks([]) == []


@given(st.lists(st.integers(-3, 3).map(float) | finite))
def test_ranks_are_scipys_minimum_ranks(rewards):
    assert ranks(rewards) == [int(rank) for rank in rankdata([-reward for reward in rewards], method="min")]


def test_best_first_orders_by_reward_and_ties_by_identity():
    rows = candidates("p0", {"a": 1.0, "b": 3.0, "c": 1.0, "d": 2.0})
    ordered = best_first(rows)
    assert [row["reward"] for row in ordered] == [3.0, 2.0, 1.0, 1.0]
    assert [row["response"] for row in ordered[:2]] == ["b", "d"]
    assert ordered[2]["candidate_id"] < ordered[3]["candidate_id"]


@given(iterations(), st.randoms())
def test_best_first_does_not_depend_on_the_inputs_order(rows, random):
    distinct = drop_duplicates(rows)
    shuffled = random.sample(distinct, len(distinct))
    assert best_first(shuffled) == best_first(distinct)


def test_the_first_sampled_of_equal_texts_is_kept():
    rows = [
        ranked("p0", "a", 1.0, iteration=1, sample_index=0),
        ranked("p0", "a", 2.0, iteration=0, sample_index=7),
        ranked("p0", "b", 3.0, iteration=0, sample_index=1),
        ranked("p0", "a", 4.0, iteration=0, sample_index=9),
        ranked("p1", "a", 5.0, iteration=0, sample_index=8),
    ]
    kept = drop_duplicates(rows)
    assert [(row["prompt_id"], row["response"], row["reward"]) for row in kept] == [
        ("p0", "b", 3.0),
        ("p0", "a", 2.0),
        ("p1", "a", 5.0),
    ]


@given(iterations(), st.randoms())
def test_dropping_duplicates_keeps_every_text_once(rows, random):
    kept = drop_duplicates(random.sample(rows, len(rows)))
    texts = {(row["prompt_id"], row["response"]) for row in rows}
    assert sorted((row["prompt_id"], row["response"]) for row in kept) == sorted(texts)
    for row in kept:
        equal = [one for one in rows if one["candidate_id"] == row["candidate_id"]]
        assert row["sample_index"] == min(one["sample_index"] for one in equal)


def test_by_prompt_sorts_prompts_and_keeps_the_order_within():
    rows = [ranked("p1", "a", 0.0), ranked("p0", "b", 0.0), ranked("p1", "c", 0.0)]
    groups = by_prompt(rows)
    assert [(key, [row["response"] for row in group]) for key, group in groups.items()] == [
        ("p0", ["b"]),
        ("p1", ["a", "c"]),
    ]


def test_pairs_that_float32_cannot_tell_apart_are_counted():
    assert pairs_tied_in_float32([1 + 2**-40, 1.0, 1.0, 0.5]) == 2
    assert pairs_tied_in_float32([1 + 2**-23, 1.0]) == 0
    assert pairs_tied_in_float32([1e301, 1e300, -1e300]) == 1
    assert ranks([1.0, 1 + 2**-40]) == [2, 1]
    assert [row["response"] for row in best_first(candidates("p0", {"a": 1.0, "b": 1 + 2**-40}))] == ["b", "a"]
