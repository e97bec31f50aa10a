"""Word problems in GSM8K's form, and demonstrations that solve them more or less well.

A problem tells what somebody has and two things that happen to it. A solution states an equation for each and ends in
`#### n`. All numbers stay within 0 to 20, so that each is one token of the tiny policy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LARGEST = 20
NAMES = ("Ann", "Ben", "Eva", "Tom")
ITEMS = ("apples", "books", "coins", "pens")
GAINS = ("buys", "finds", "gets")
LOSSES = ("gives away", "loses", "sells")


@dataclass(frozen=True)
class Problem:
    """A question and the equations `left operator right = result` that answer it, in order."""

    question: str
    equations: tuple[tuple[int, str, int, int], ...]

    @property
    def answer(self) -> int:
        """The number asked for."""
        return self.equations[-1][3]

    @property
    def solution(self) -> str:
        """The right solution."""
        return _solution(self.equations, self.answer)


def make_problems(count: int, rng: random.Random) -> list[Problem]:
    """Make `count` problems with different questions."""
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        problem = _make_problem(rng)
        problems.setdefault(problem.question, problem)
    return list(problems.values())


def right(problem: Problem, _rng: random.Random) -> str:
    """The right solution."""
    return problem.solution


def wrong_final_number(problem: Problem, rng: random.Random) -> str:
    """Right reasoning that ends on another number."""
    return _solution(problem.equations, _other_number(problem.answer, rng))


def no_reasoning(problem: Problem, rng: random.Random) -> str:
    """A guess near the answer, without any equation."""
    near = range(max(0, problem.answer - 3), min(LARGEST, problem.answer + 3) + 1)
    return f"#### {rng.choice(near)}"


def wrong_operator(problem: Problem, rng: random.Random) -> str:
    """Adds where it should take away, or the other way round, and goes on from there without a slip."""
    changed = rng.randrange(len(problem.equations))
    equations: list[tuple[int, str, int, int]] = []
    for place, (left, operator, number, _) in enumerate(problem.equations):
        start = equations[-1][3] if equations else left
        used = _other_operator(operator) if place == changed else operator
        result = _apply(start, used, number)
        equations.append((start, used, number, min(max(result, 0), LARGEST)))
    return _solution(tuple(equations), equations[-1][3])


DEMONSTRATION_KINDS: tuple[tuple[Callable[[Problem, random.Random], str], float], ...] = (
    (right, 0.45),
    (wrong_final_number, 0.2),
    (no_reasoning, 0.15),
    (wrong_operator, 0.2),
)
"""Kinds of demonstrations and their shares: the policy learns to do the task, and also much else."""


def demonstrate(problem: Problem, rng: random.Random) -> str:
    """A solution of mixed quality."""
    kinds, shares = zip(*DEMONSTRATION_KINDS, strict=True)
    kind: Callable[[Problem, random.Random], str] = rng.choices(kinds, shares)[0]
    return kind(problem, rng)


def vocabulary() -> list[str]:
    """Every word and sign of questions and solutions."""
    words = {"has", "bags", "of", "How", "many", "does", "have", "more", ".", "?", "=", "+", "-", "*", "####"}
    for phrase in (*NAMES, *ITEMS, *GAINS, *LOSSES):
        words.update(phrase.split())
    return [*(str(number) for number in range(LARGEST + 1)), *sorted(words)]


def _make_problem(rng: random.Random) -> Problem:
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    equations: list[tuple[int, str, int, int]] = []
    if rng.random() < 1 / 3:
        bags, each = rng.randint(2, 5), rng.randint(2, 4)
        sentences = [f"{name} has {bags} bags of {each} {item}."]
        equations.append((bags, "*", each, bags * each))
        events = 1
    else:
        start = rng.randint(1, LARGEST)
        sentences = [f"{name} has {start} {item}."]
        events = 2
    for _ in range(events):
        now = equations[-1][3] if equations else start
        sentence, equation = _event(name, now, rng)
        sentences.append(sentence)
        equations.append(equation)
    sentences.append(f"How many {item} does {name} have?")
    return Problem(" ".join(sentences), tuple(equations))


def _event(name: str, now: int, rng: random.Random) -> tuple[str, tuple[int, str, int, int]]:
    gains = now == 0 or (now < LARGEST and rng.random() < 0.5)
    if gains:
        number = rng.randint(1, LARGEST - now)
        return f"{name} {rng.choice(GAINS)} {number} more.", (now, "+", number, now + number)
    number = rng.randint(1, now)
    return f"{name} {rng.choice(LOSSES)} {number}.", (now, "-", number, now - number)


def _solution(equations: tuple[tuple[int, str, int, int], ...], answer: int) -> str:
    steps = " ".join(f"{left} {operator} {number} = {result}." for left, operator, number, result in equations)
    return f"{steps} #### {answer}"


def _other_number(answer: int, rng: random.Random) -> int:
    return rng.choice([number for number in range(LARGEST + 1) if number != answer])


def _other_operator(operator: str) -> str:
    return {"+": "-", "-": "+", "*": "+"}[operator]


def _apply(left: int, operator: str, right_number: int) -> int:
    return {"+": left + right_number, "-": left - right_number, "*": left * right_number}[operator]
