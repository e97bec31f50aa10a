import pytest
from candidate_rows import candidates, iterations, selections
from hypothesis import given

from larpo_lib.candidates.ranking import best_first, by_prompt, drop_duplicates
from larpo_lib.candidates.selections.by_rank import BestWorstConfig, OneVsRestConfig, TopBottomConfig, WholeListConfig

SIX = best_first(candidates("p0", {"a": 6.0, "b": 5.0, "c": 4.0, "d": 3.0, "e": 2.0, "f": 1.0}))
TOP2_BOTTOM2 = TopBottomConfig(top=2, bottom=2)


@pytest.mark.parametrize(
    ("length", "config", "expected"),
    [
        (6, BestWorstConfig(), "af"),
        (2, BestWorstConfig(), "ab"),
        (1, BestWorstConfig(), "a"),
        (6, TOP2_BOTTOM2, "abef"),
        (4, TOP2_BOTTOM2, "abcd"),
        (3, TOP2_BOTTOM2, "abc"),
        (1, TOP2_BOTTOM2, "a"),
        (6, TopBottomConfig(top=1, bottom=3), "adef"),
        (6, TopBottomConfig(top=3, bottom=1), "abcf"),
        (2, TopBottomConfig(top=3, bottom=1), "ab"),
        (6, OneVsRestConfig(), "abcdef"),
        (6, WholeListConfig(), "abcdef"),
    ],
)
def test_what_each_selection_takes(length, config, expected):
    assert "".join(row["response"] for row in config.select(SIX[:length])) == expected


def test_one_vs_rest_leaves_out_what_ties_with_the_best():
    ordered = best_first(candidates("p0", {"a": 2.0, "b": 2.0, "c": 1.0, "d": 1.0, "e": 0.0}))
    chosen = OneVsRestConfig().select(ordered)
    assert chosen[0] == ordered[0]
    assert [row["reward"] for row in chosen] == [2.0, 1.0, 1.0, 0.0]


@given(iterations(), selections)
def test_a_selection_is_an_ordered_part_that_keeps_best_and_worst(rows, config):
    for group in by_prompt(drop_duplicates(rows)).values():
        ordered = best_first(group)
        chosen = config.select(ordered)
        places = [ordered.index(row) for row in chosen]
        assert places == sorted(set(places))
        assert chosen[0] == ordered[0]
        assert chosen[-1]["reward"] == ordered[-1]["reward"]
