from candidate_rows import histories, merge, ranked
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

memories = st.sampled_from(["current", "previous", "all"])


def _flat(lists):
    return [row for group in lists.values() for row in group]


def test_earlier_responses_join_the_list_and_are_ranked_with_it():
    history = [
        [ranked("p0", "old best", 5.0, iteration=0), ranked("p1", "only then", 1.0, iteration=0)],
        [ranked("p0", "middle", 2.0, iteration=1)],
        [ranked("p0", "new", 3.0, iteration=2), ranked("p0", "old best", 5.0, iteration=2, sample_index=1)],
    ]
    merged = merge(history, "all")
    assert {
        prompt_id: [(row["response"], row["rank"], row["iteration"]) for row in rows]
        for prompt_id, rows in merged.items()
    } == {"p0": [("old best", 1, 0), ("new", 2, 2), ("middle", 3, 1)], "p1": [("only then", 1, 0)]}
    assert {prompt_id: len(merged.candidates(prompt_id)) for prompt_id in merged} == {"p0": 4, "p1": 1}
    assert "p2" not in merged
    assert [row["response"] for row in merge(history, "current")["p0"]] == ["old best", "new"]
    assert [row["response"] for row in merge(history, "previous")["p0"]] == ["old best", "new", "middle"]
    assert list(merge(history, "previous")) == ["p0"]


def test_of_two_scores_of_one_sample_the_later_counts():
    history = [
        [ranked("p0", "a", 1.0, iteration=0)],
        [ranked("p0", "a", 7.0, iteration=0), ranked("p0", "b", 3.0, iteration=1)],
    ]
    assert [(row["response"], row["reward"]) for row in merge(history, "all")["p0"]] == [("a", 7.0), ("b", 3.0)]


@given(histories())
def test_lists_grow_with_memory(history):
    current, previous, everything = (merge(history, memory) for memory in ("current", "previous", "all"))
    for smaller, larger in ((current, previous), (previous, everything)):
        for prompt_id, rows in smaller.items():
            assert {row["response"] for row in rows} <= {row["response"] for row in larger[prompt_id]}


@given(histories(), memories, st.randoms())
def test_merging_does_not_depend_on_the_order_of_rows(history, memory, random):
    shuffled = [random.sample(rows, len(rows)) for rows in history]
    assert dict(merge(shuffled, memory)) == dict(merge(history, memory))


@given(histories(), memories)
def test_merging_again_changes_nothing(history, memory):
    once = merge(history, memory)
    again = merge([_flat(once)], "all")
    assert list(again.items()) == list(once.items())
    assert all(len(again.candidates(prompt_id)) == len(own) for prompt_id, own in again.items())


@given(histories(), memories)
def test_ranks_are_those_of_the_union(history, memory):
    merged = merge(history, memory)
    assert list(merged) == sorted(merged)
    for prompt_id, rows in merged.items():
        assert {row["response"] for row in rows} == {row["response"] for row in merged.candidates(prompt_id)}
        assert [row["rank"] for row in rows] == list(rankdata([-row["reward"] for row in rows], method="min"))
        assert [row["rank"] for row in rows] == sorted(row["rank"] for row in rows)
