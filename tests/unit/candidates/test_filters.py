import pytest
from candidate_rows import build, candidates, prompt, ranked

from larpo_lib.candidates.filters import Filtered, filtered
from larpo_lib.candidates.ranking import best_first
from larpo_lib.candidates.selections.by_rank import BestWorstConfig, WholeListConfig
from larpo_lib.candidates.selections.coreset import CoresetConfig
from larpo_lib.config import FiltersConfig, ListsConfig, NegativesConfig


def _kept(rewards, **limits):
    rows, dropped = filtered(best_first(candidates("p0", rewards)), FiltersConfig(**limits))
    return [row["response"] for row in rows], dict(dropped)


def test_near_duplicates_of_better_responses_are_dropped():
    """Runs of three words: the first two texts have 4 each, 3 in common, of 5: .6; the third has others."""
    one, two, other = "so the answer is four now", "so the answer is four then", "four it is"
    rewards = {one: 3.0, two: 2.0, other: 1.0}
    assert _kept(rewards, max_similarity=0.59) == ([one, other], {"near_duplicates_dropped": 1})
    assert _kept(rewards, max_similarity=0.6) == ([one, two, other], {})
    assert _kept({"So, the answer": 1.0, "so the answer!": 0.0}, max_similarity=0.9)[1] == {
        "near_duplicates_dropped": 1
    }


def test_of_scripts_without_spaces_each_character_is_a_word():
    """Runs of three characters: each text has three, two in common, of four: .5."""
    for one, two in (("机器学习好", "机器学习坏"), ("きょうは晴", "きょうは雨"), ("กขคงจ", "กขคงฉ")):
        assert _kept({one: 1.0, two: 0.0}, max_similarity=0.49) == ([one], {"near_duplicates_dropped": 1})
        assert _kept({one: 1.0, two: 0.0}, max_similarity=0.5) == ([one, two], {})


def test_a_response_is_compared_with_those_that_stay():
    """The second is near the first, and the third near the second alone."""
    texts = ["a b c d e f", "a b c d e g h", "b c d e g h i"]
    rewards = {text: -float(place) for place, text in enumerate(texts)}
    assert _kept(rewards, max_similarity=0.4)[0] == [texts[0], texts[2]]


def test_texts_without_words_are_compared_as_they_are():
    assert _kept({"!": 2.0, "?": 1.0, "": 0.0}, max_similarity=0.0)[0] == ["!", "?", ""]


def test_responses_of_another_length_than_the_best_are_dropped():
    rewards = {"12345678": 4.0, "1234": 3.0, "123": 2.0, "1" * 16: 1.0, "1" * 17: 0.5, "": 0.0}
    assert _kept(rewards, max_length_ratio=2.0) == (["12345678", "1234", "1" * 16], {"other_lengths_dropped": 3})
    assert _kept({"": 1.0, "1": 0.0}, max_length_ratio=2.0)[1] == {"other_lengths_dropped": 1}


@pytest.mark.parametrize(("least", "lists", "dropped"), [(0.5, 1, 0), (0.51, 0, 1)])
def test_lists_of_a_small_reward_gap_are_dropped_and_counted(least, lists, dropped):
    config = ListsConfig(selection=BestWorstConfig(), filters=FiltersConfig(min_reward_gap=least))
    made, counts = build([prompt("p0")], [candidates("p0", {"x": 1.0, "y": 0.5})], config)
    assert (len(made), counts["lists_dropped_small_gap"]) == (lists, dropped)
    assert counts["candidates_in_dropped_lists"] == 2 * dropped


def test_the_counts_add_up_with_filters():
    rows = candidates("p0", {"a b c d": 3.0, "a b c e": 2.0, "a b c d e f g h i j": 1.0, "x y z": 0.0})
    limits = FiltersConfig(max_similarity=0.3, max_length_ratio=2.0, min_reward_gap=0.1)
    _, counts = build([prompt("p0")], [rows], ListsConfig(selection=WholeListConfig(), filters=limits))
    assert (counts["near_duplicates_dropped"], counts["other_lengths_dropped"], counts["responses"]) == (1, 1, 2)
    assert counts["candidates"] == 4
    names = ("near_duplicates_dropped", "other_lengths_dropped", "responses", "candidates_not_selected")
    assert counts["candidates"] == sum(counts[name] for name in names)


def test_negatives_are_found_among_what_stays():
    rows = [
        ranked("p0", "a b c d", 3.0, sample_index=0),
        ranked("p0", "a b c d e", 1.0, sample_index=1),
        ranked("p0", "x y z", 0.0, sample_index=2),
    ]
    config = ListsConfig(negatives=NegativesConfig(kind="cold", count=2), filters=FiltersConfig(max_similarity=0.5))
    (made,), _ = build([prompt("p0")], [rows], config)
    assert made["responses"] == ["a b c d", "x y z"]
    assert len(Filtered({"p0": best_first(rows)}, FiltersConfig(max_similarity=0.5))["p0"]) == 2


def test_without_filters_nothing_is_counted_and_the_identity_is_as_before():
    assert "filters" not in ListsConfig().identity()
    assert ListsConfig(filters=FiltersConfig(max_similarity=0.5)).identity()["filters"]["max_similarity"] == 0.5
    _, counts = build([prompt("p0")], [candidates("p0", {"x": 1.0, "y": 0.5})], ListsConfig())
    assert not {"near_duplicates_dropped", "lists_dropped_small_gap"} & counts.keys()


def test_a_selection_by_words_counts_no_cut_texts():
    config = ListsConfig(selection=CoresetConfig(negatives=1))
    _, counts = build([prompt("p0")], [candidates("p0", {"x": 1.0, "y": 0.5})], config)
    assert "responses_cut_for_embedding" not in counts
