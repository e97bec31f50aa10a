import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.diversity import Diversity, duplicates_above, ngram_counts


def row(prompt, temperature, response):
    return {"prompt_id": prompt, "temperature": temperature, "response": response}


ROWS = [
    row("p0", 1.0, "3 + 4 = 7"),
    row("p0", 1.0, "3 + 4 = 7"),
    row("p0", 1.0, "seven"),
    row("p0", 0.5, "seven"),
    row("p1", 1.0, "3 + 4 = 7"),
    row("p1", 1.0, "3 + 4 = 8"),
    row("p1", 0.5, "I say 7"),
    row("p1", 0.5, "I say 7"),
]


def test_shares_by_hand():
    assert Diversity(ROWS).metrics() == {
        # p0 at 1.0: two of three; p1 at 1.0: none of two; p1 at 0.5: two of two. The lone one of p0 at 0.5 has no peer.
        "duplicate_share": 4 / 7,
        "duplicate_share_t0.5": 2 / 2,
        "duplicate_share_t1.0": 2 / 5,
        # at 1.0: p0 has 4 of 8 (its text twice), p1 has 5 of 8 (all but the last one shared); at 0.5: p1 2 of 4
        "distinct_2": 11 / 20,
        "distinct_2_t0.5": 2 / 4,
        "distinct_2_t1.0": 9 / 16,
    }


def test_of_scripts_without_spaces_each_character_is_a_word():
    """Signs of vowels and of punctuation, and a run of Latin, are one each."""
    assert Diversity([row("p", 1.0, "我说七"), row("p", 1.0, "我说八")]).metrics()["distinct_2"] == 3 / 4
    assert Diversity([row("p", 1.0, "用GPT写。"), row("p", 1.0, "用GPT写")]).metrics()["distinct_2"] == 3 / 5
    assert Diversity([row("p", 1.0, "ชี้"), row("p", 1.0, "ชี้")]).metrics()["distinct_2"] == 2 / 4


def test_no_rows_and_unknown_temperatures():
    assert Diversity().metrics() == {"duplicate_share": None, "distinct_2": None}
    unknown = Diversity([row("p", None, "a b"), row("p", None, "a b")])
    assert unknown.metrics() == {"duplicate_share": 1.0, "distinct_2": 0.5}
    assert duplicates_above(unknown.metrics(), 0.0) == []


def test_only_temperatures_above_the_share_are_named():
    metrics = Diversity([*ROWS, row("p2", 10.0, "alone")]).metrics()
    assert metrics["duplicate_share_t10.0"] is None
    assert duplicates_above(metrics, 0.4) == [(0.5, 1.0)]
    assert duplicates_above(metrics, 0.39) == [(0.5, 1.0), (1.0, 0.4)]


def test_looking_in_between_changes_nothing():
    diversity = Diversity()
    for one in ROWS:
        diversity.add(one)
        diversity.metrics()
    assert diversity.metrics() == Diversity(ROWS).metrics()


prompts = st.lists(st.lists(st.tuples(st.sampled_from([0.0, 0.7, 1.0]), st.text("ab ", max_size=5)), max_size=6))


@given(prompts, st.integers(0, 9))
def test_merged_parts_are_the_whole(drawn, cut):
    rows = [[row(f"p{i}", *one) for one in group] for i, group in enumerate(drawn)]
    merged = Diversity(itertools.chain(*rows[:cut]))
    merged.merge(Diversity(itertools.chain(*rows[cut:])))
    assert merged.metrics() == Diversity(itertools.chain(*rows)).metrics()


@given(prompts)
def test_duplicates_are_those_of_all_groups_at_once(drawn):
    groups = [
        [text for value, text in group if value == temperature] for group in drawn for temperature in (0.0, 0.7, 1.0)
    ]
    rows = [row(f"p{i}", *one) for i, group in enumerate(drawn) for one in group]
    compared = [group for group in groups if len(group) > 1]
    twins = [
        any(group[i] == group[j] for j in range(len(group)) if j != i) for group in compared for i in range(len(group))
    ]
    assert Diversity(rows).metrics()["duplicate_share"] == (pytest.approx(sum(twins) / len(twins)) if twins else None)


def test_no_ngram_spans_two_sequences():
    sequences = [["a", "b", "a", "b"], ["a", "b"], ["c"]]
    assert ngram_counts(sequences, 2) == (2, 4)  # ab ba ab, ab
    assert ngram_counts(sequences, 1) == (3, 7)
    assert ngram_counts(sequences, 5) == (0, 0)
