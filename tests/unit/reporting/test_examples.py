import pytest
from hypothesis import given
from hypothesis import strategies as st
from reporting.small_report import AFTER, BEFORE, row, rows

from larpo_lib.candidates.ranking import by_prompt
from larpo_lib.reporting.examples import BETTER, SAME, SHOWN_CHARACTERS, UNDECIDED, WORSE, choose_examples

PROMPTS = {
    name: [{"messages": [{"role": "user", "content": f"question {name}"}], "reference": None}] for name in "abcdefgh"
}


def choose(before, after, count):
    return choose_examples(PROMPTS, by_prompt(before), by_prompt(after), count)


def test_changed_prompts_come_first_and_one_that_got_worse_is_shown():
    examples, outcomes = choose(rows(BEFORE), rows(AFTER), 3)
    assert [example.outcome for example in examples] == [BETTER, WORSE, SAME]
    assert [example.messages[0][1].shown for example in examples] == ["question a", "question b", "question c"]
    assert outcomes == {BETTER: 1, WORSE: 1, SAME: 1, UNDECIDED: 0}


def test_a_worse_prompt_keeps_its_place_among_many_better_ones():
    before = {name: [0.0, 0.0] for name in "abcdefg"} | {"h": [1.0, 0.0]}
    after = {name: [1.0, 0.0] for name in "abcdefg"} | {"h": [0.0, 0.0]}
    examples, outcomes = choose(rows(before), rows(after), 2)
    assert [example.outcome for example in examples] == [BETTER, WORSE]
    assert outcomes == {BETTER: 7, WORSE: 1, SAME: 0, UNDECIDED: 0}


def test_without_a_judge_the_largest_change_of_the_greedy_reward_comes_first():
    before = {"a": [0.0, 0.0], "b": [0.0, 0.0], "c": [0.5, 0.0]}
    after = {"a": [0.1, 0.0], "b": [0.9, 0.0], "c": [0.5, 0.9]}
    examples, _ = choose(rows(before, judged=False), rows(after, judged=False), 3)
    assert [example.messages[0][1].shown for example in examples] == ["question b", "question a", "question c"]
    assert [answer.reward for answer in examples[0].after] == [0.9, 0.0]


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ((None, 5.2), (True, 6.0), UNDECIDED),
        ((False, -8.0), (None, -9.0), UNDECIDED),
        ((True, 5.0), (None, 7.0), UNDECIDED),
        ((None, 5.2), (None, 6.0), BETTER),
        ((True, 5.2), (False, 6.0), WORSE),
    ],
)
def test_a_verdict_is_never_compared_with_a_reward(before, after, outcome):
    (old, reward), (new, other) = before, after
    examples, outcomes = choose([row("a", 0, reward, old)], [row("a", 0, other, new)], 1)
    assert outcomes == {**dict.fromkeys((BETTER, WORSE, SAME, UNDECIDED), 0), outcome: 1}
    assert [example.outcome for example in examples] == [outcome]


def test_greedy_and_first_sampled_response_stand_side_by_side():
    before = [row("a", 2, 0.2, None, "second"), row("a", 1, 0.1, None, "first"), row("a", 0, 0.3, None, "greedy")]
    example = choose(before, before, 1)[0][0]
    assert [(answer.kind, answer.text.shown) for answer in example.before] == [
        ("greedy", "greedy"),
        ("sampled", "first"),
    ]


def test_long_texts_are_cut_and_say_by_how_much():
    long = [row("a", 0, 0.0, None, "x" * (SHOWN_CHARACTERS + 17))]
    text = choose(long, long, 1)[0][0].before[0].text
    assert (len(text.shown), text.hidden) == (SHOWN_CHARACTERS, 17)


@given(
    changes=st.lists(st.sampled_from([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)]), min_size=1, max_size=8),
    count=st.integers(0, 9),
    seed=st.randoms(use_true_random=False),
)
def test_choice_fills_its_places_and_ignores_the_order_of_rows(changes, count, seed):
    names = list(zip("abcdefgh", changes, strict=False))
    before = rows({name: [old, 0.0] for name, (old, _) in names})
    after = rows({name: [new, 0.0] for name, (_, new) in names})
    chosen = choose(before, after, count)
    assert len(chosen[0]) == min(count, len(names))
    assert sum(chosen[1].values()) == len(names)
    if count > 1 and chosen[1][WORSE]:
        assert WORSE in [example.outcome for example in chosen[0]]
    seed.shuffle(before)
    seed.shuffle(after)
    assert choose(before, after, count) == chosen
