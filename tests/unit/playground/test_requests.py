import pytest

from larpo_lib.playground import requests
from larpo_lib.playground.real import HELDOUT, PROMPTS
from larpo_lib.playground.requests import HELD_OUT_SUBJECTS, SUBJECTS, make_other_requests, make_requests
from larpo_lib.rewards.rules.ifeval import followed, read_instructions

FOLLOWED = {
    "punctuation:no_comma": ("bees work all day and rest at night", "bees, wax"),
    "change_case:english_lowercase": ("the bees work all day and then they rest at night", "The bees work all day."),
    "keywords:existence": ("A bright, slow, warm, quiet, simple, strange and gentle bee.", "A bee."),
    "keywords:forbidden_words": ("Bees work.", "It is the very bee, and that is it."),
    "length_constraints:number_words": ("Bees work.", "bee " * 40),
    "detectable_format:number_bullet_lists": ("* Bees work.\n* Bees rest.\n* Bees fly.", "Bees work."),
    "detectable_format:title": ("<<Bees>>\nThey work.", "Bees: they work."),
    "startend:quotation": ('"Bees work."', 'Bees "work".'),
    "startend:end_checker": ("Bees work. That is all.", "That is all. Bees work."),
    "detectable_content:postscript": ("Bees work.\nP.S. They rest.", "Bees work. PS: They rest."),
    "detectable_format:number_highlighted_sections": ("Bees *work*.", "Bees work."),
}
"""A response that follows each instruction whatever its arguments, but for bullets of 3, and one that does not."""

OTHER_FOLLOWED = {
    "change_case:english_capital": ("BEES WORK ALL DAY AND THEN THEY REST AT NIGHT", "Bees work all day."),
    "keywords:frequency": ("bright slow warm quiet simple strange gentle " * 2, "A bright and gentle bee."),
    "keywords:letter_frequency": ("bbbb kkkk vvvv wwww", "A wise black velvet bee keeps still."),
    "detectable_content:number_placeholders": ("Dear [name], bees work.", "Dear name, bees work."),
    "length_constraints:number_paragraphs": ("Bees work.\n***\nThey rest.", "Bees work.\n\nThey rest."),
    "detectable_format:multiple_sections": ("PART 1\nBees work.\nPART 2\nThey rest.", "Part one: bees work."),
    "detectable_format:json_format": ('{"bees": "work"}', "bees: work"),
    "length_constraints:nth_paragraph_first_word": ("Imagine bees.", "Bees.\n\nImagine bees."),
}


def test_other_requests_state_two_instructions_of_kinds_that_are_not_trained_on() -> None:
    assert not OTHER_FOLLOWED.keys() & FOLLOWED.keys()
    rows = make_other_requests(96, seed=0)
    assert len({row["prompt"] for row in rows}) == 96
    seen = set()
    for row in rows:
        assert any(subject in row["prompt"] for subject in HELD_OUT_SUBJECTS)
        first, second = read_instructions(row["instruction_id_list"], row["kwargs"])
        for instruction in (first, second):
            seen.add(instruction.id)
            assert not instruction.needs_punkt
            right, wrong = OTHER_FOLLOWED[instruction.id]
            assert followed([instruction], right, loose=False) == [True], row
            assert followed([instruction], wrong, loose=False) == [False], row
            for argument in instruction.model_dump().values():
                assert str(argument).lower() in row["prompt"].lower()
    assert seen == OTHER_FOLLOWED.keys()
    assert make_other_requests(96, seed=0) == rows != make_other_requests(96, seed=1)


def test_every_request_states_three_instructions_that_can_be_followed_and_not() -> None:
    prompts, heldout = make_requests(PROMPTS, HELDOUT, seed=0)
    seen = set()
    for row in [*prompts, *heldout]:
        assert len(row["instruction_id_list"]) == 3
        for instruction in read_instructions(row["instruction_id_list"], row["kwargs"]):
            seen.add(instruction.id)
            right, wrong = FOLLOWED[instruction.id]
            if getattr(instruction, "relation", "") == "at least":
                right, wrong = wrong, right
            if getattr(instruction, "num_bullets", 3) == 3:
                assert followed([instruction], right, loose=False) == [True], (row, right)
            assert followed([instruction], wrong, loose=False) == [False], (row, wrong)
            assert not instruction.needs_punkt
            for argument in instruction.model_dump().values():
                said = argument if isinstance(argument, list) else [argument]
                assert all(str(each) in row["prompt"] for each in said)
    assert seen == FOLLOWED.keys()


def test_held_out_requests_are_on_other_subjects_and_none_comes_twice() -> None:
    assert not set(SUBJECTS) & set(HELD_OUT_SUBJECTS)
    prompts, heldout = make_requests(PROMPTS, HELDOUT, seed=1)
    texts = [row["prompt"] for row in [*prompts, *heldout]]
    assert len(texts) == len(set(texts)) == PROMPTS + HELDOUT
    assert not any(subject in row["prompt"] for row in heldout for subject in SUBJECTS)
    assert make_requests(PROMPTS, HELDOUT, seed=1) == (prompts, heldout)
    assert make_requests(PROMPTS, HELDOUT, seed=2)[0] != prompts


@pytest.mark.parametrize("subjects", ["SUBJECTS", "HELD_OUT_SUBJECTS"])
def test_no_subject_stands_twice(subjects: str) -> None:
    found = getattr(requests, subjects)
    assert len(found) == len(set(found))
