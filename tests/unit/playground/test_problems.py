import random
import re
from collections import Counter

import pytest
from small_models import user

from larpo_lib.playground.policy import make_tokenizer
from larpo_lib.playground.problems import (
    DEMONSTRATION_KINDS,
    LARGEST,
    demonstrate,
    make_problems,
    no_reasoning,
    right,
    vocabulary,
    wrong_final_number,
    wrong_operator,
)
from larpo_lib.rewards.answers import equations_share, final_number, is_right
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.verifier import VerifierConfig


@pytest.fixture(scope="module")
def problems():
    return make_problems(2000, random.Random(0))


def _item(problem, response):
    return Scorable("p", user(problem.question), response, problem.solution)


def _solve(question):
    """What is left in the end, read from the sentences alone."""
    bags = re.match(r"\w+ has (\d+) bags of (\d+) ", question)
    start = re.match(r"\w+ has (\d+) ", question)
    amount = int(bags[1]) * int(bags[2]) if bags else int(start[1])
    for gained, lost in re.findall(r"(?:buys|finds|gets) (\d+) more|(?:gives away|loses|sells) (\d+)\.", question):
        amount += int(gained or 0) - int(lost or 0)
    return amount


def test_the_answer_follows_from_the_question(problems):
    for problem in problems:
        assert problem.answer == _solve(problem.question) == final_number(problem.solution)
        assert problem.question.endswith("?")


def test_every_number_is_one_the_policy_knows(problems):
    for problem in problems:
        numbers = [int(text) for text in re.findall(r"\d+", f"{problem.question} {problem.solution}")]
        assert all(0 <= number <= LARGEST for number in numbers)
        assert len(problem.equations) == 2


def test_questions_differ_and_depend_on_the_seed(problems):
    assert len({problem.question for problem in problems}) == 2000
    assert make_problems(50, random.Random(0)) == problems[:50]
    assert make_problems(50, random.Random(1)) != problems[:50]


def test_right_solutions_earn_the_full_reward(problems):
    rng = random.Random(1)
    scores = make_reranker(VerifierConfig()).score([_item(p, right(p, rng)) for p in problems])
    assert scores == pytest.approx([1.0] * len(problems))


def test_flawed_solutions_are_flawed_in_their_own_way(problems):
    rng = random.Random(1)
    for problem in problems:
        final = _item(problem, wrong_final_number(problem, rng))
        assert not is_right(final)
        assert equations_share(final.response) == 1
        guess = no_reasoning(problem, rng)
        assert abs(final_number(guess) - problem.answer) <= 3
        assert equations_share(guess) == 0
        mistaken = _item(problem, wrong_operator(problem, rng))
        assert not is_right(mistaken)
        assert equations_share(mistaken.response) == 1


def test_demonstrations_mix_their_kinds(problems):
    rng = random.Random(2)
    demonstrations = [_item(problem, demonstrate(problem, rng)) for problem in problems]
    shares = dict(DEMONSTRATION_KINDS)
    assert sum(shares.values()) == pytest.approx(1.0)
    exact = Counter(item.response == problem.solution for item, problem in zip(demonstrations, problems, strict=True))
    assert abs(exact[True] / len(problems) - shares[right]) < 0.05
    guessed = 0.15 / 6  # one number of about six
    assert abs(sum(map(is_right, demonstrations)) / len(problems) - shares[right] - guessed) < 0.05


def test_the_tokenizer_knows_every_word_and_gives_them_back(problems):
    tokenizer = make_tokenizer(vocabulary())
    rng = random.Random(3)
    for problem in problems[:500]:
        for text in (problem.question, demonstrate(problem, rng)):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.unk_token_id not in ids
            decoded = tokenizer.decode(ids)
            assert equations_share(decoded) == equations_share(text)
            assert final_number(decoded) == final_number(text)
