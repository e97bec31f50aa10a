import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.evaluation.mixeval.parsing import chosen_option, judged_option, judged_score, random_option, random_score

TEXTS = st.text(alphabet="[]AB01.9 x\n")
OPTIONS = ["a red cat", "A dog", "cat", "4"]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("The correctness score: [[0.5]].", 0.5),
        ("[[1]]", 1.0),
        ("[[1.]]", 1.0),
        ("[[0.0]] or [[1.0]]", 0.0),
        ("score [0.3]", 0.3),
        ("[0.3] ... [[0.7]]", 0.7),
        ("[[5]]", None),
        ("[[5]] so [0.5]", None),
        ("[[-0.5]]", None),
        ("[[score]]", None),
        ("0.5", None),
        ("[[\u0660.\u0665]]", None),
        ("", None),
        ('<think>\nThe form is "[[score]]", such as [[0.5]].\n</think>\n\nThe correctness score: [[1.0]]', 1.0),
        ("Such as [[0.5]].\n</think>\n[[1.0]]", 1.0),  # the template has opened the thoughts
        ("<think>\nSuch as [[0.5]]. But the answer", None),
        ("<think>\n[[0.5]]\n</think>\nI cannot say.", None),
    ],
)
def test_scores_are_read_as_officially(text, score):
    assert judged_score(text) == score


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("The option chosen by the model: [[B]].", "B"),
        ("[[A]], [[D]]", "A"),
        ("[C]", "C"),
        ("[C] but [[D]]", "D"),
        ("[[Z]]", "Z"),
        ("[[A, C]]", None),
        ("[[None of the above]]", None),
        ("[[b]]", None),
        ("B", None),
        ('<think>\nThe form is "[[A]]".\n</think>\n\nThe option chosen by the model: [[C]]', "C"),
        ('<think>\nThe form is "[[A]]". The model', None),
    ],
)
def test_options_are_read_as_officially(text, option):
    assert judged_option(text) == option


@given(TEXTS, st.integers(0, 10), TEXTS)
def test_a_score_in_double_brackets_is_found_whatever_stands_behind_it(before, tenths, after):
    before = before.replace("[", "").replace("]", "")
    assert judged_score(f"{before}[[{tenths / 10}]]{after}") == tenths / 10


@given(TEXTS)
def test_what_is_read_stands_in_brackets_and_in_range(text):
    score, option = judged_score(text), judged_option(text)
    if score is not None:
        assert 0 <= score <= 1
        assert score in [float(found) for found in re.findall(r"\[(\d+\.?\d*)\]", text)]
    else:
        assert all(float(found) > 1 for found in re.findall(r"\[\[(\d+\.?\d*)\]\]", text)[:1])
    assert (option is None) == (not any(f"[{letter}]" in text for letter in string.ascii_uppercase))


@pytest.mark.parametrize(
    ("response", "option"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("B. A dog", "B"),
        ("The answer is (C)", "C"),
        ("**D. 4**", "D"),
        ("It is B**", "B"),
        ("**B**", None),
        ("Answer:\nC\n", "C"),
        ("I think it must be a red cat there", "A"),
        ("Well, clearly the CAT sat there then", "C"),
        ("a red cat", None),
        ("E", None),
        ("ABC", None),
        ("", None),
    ],
)
def test_rules_choose_as_officially(response, option):
    assert chosen_option(response, OPTIONS) == option


PATTERNS = [
    " {} ", " {}\n", "\n{} ", "\n{}\n", " {}. ", " {}.\n", "\n{}. ", "\n{}.\n", "({})", "**{} ", " {}**", "**{}. ",
    " {}.**",
]  # fmt: skip


def _by_the_book(response, options):
    """The official rule, word for word: every pattern of every letter, then the first place."""
    for end in ",.!?;:'":
        response = response.strip(end)
    response = f" {response} "
    letters = string.ascii_uppercase[: len(options)]
    found = []
    for letter in letters:
        for pattern in PATTERNS:
            found += [(match.start(), letter) for match in re.finditer(re.escape(pattern.format(letter)), response)]
    if not found and len(response.split()) > 5:
        for letter, option in zip(letters, options, strict=True):
            found += [(m.start(), letter) for m in re.finditer(re.escape(option.lower()), response.lower())]
    return min(found, key=lambda one: one[0])[1] if found else None


PIECES = st.sampled_from(
    [*"ABCDE", "a red cat", "cat", " ", " ", "\n", ".", "(", ")", "**", "x", "'", "4", "A dog", ":"]
)


@given(st.lists(PIECES, max_size=14).map("".join), st.integers(2, 4))
def test_rules_choose_as_the_official_list_of_patterns(response, count):
    assert chosen_option(response, OPTIONS[:count]) == _by_the_book(response, OPTIONS[:count])


def test_long_runs_of_digits_take_no_time():
    """13 seconds, when every digit could stand before or behind a full stop that is not there."""
    start = time.process_time()
    assert judged_score("[[" + "1" * 100_000) is None
    assert judged_score(f"[[{'1' * 100_000}.]]") is None
    assert judged_score("[[0.25]] " + "[[1" * 30_000) == 0.25
    assert [judged_score(f"[[{text}]]") for text in ("1.", "0", "0.50", ".5", "1.5")] == [1.0, 0.0, 0.5, None, None]
    assert time.process_time() - start < 1


def test_random_stand_ins_are_seeded_and_do_not_depend_on_each_other():
    scores = [random_score(0, f"ff-{i}") for i in range(400)]
    assert scores == [random_score(0, f"ff-{i}") for i in range(400)]
    assert scores != [random_score(1, f"ff-{i}") for i in range(400)]
    assert set(scores) == {tenths / 10 for tenths in range(11)}
    assert {random_option(0, f"mp-{i}", 3) for i in range(40)} == {"A", "B", "C"}
