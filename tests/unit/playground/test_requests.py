import pytest

from larpo_lib.playground import requests
from larpo_lib.playground.real import HELDOUT, PROMPTS
from larpo_lib.playground.requests import HELD_OUT_SUBJECTS, SUBJECTS, make_requests
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
