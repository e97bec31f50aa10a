"""Word problems in GSM8K's form, and demonstrations that solve them more or less well.

A problem tells what somebody has and two things that happen to it. A solution states an equation for each and ends in
`#### n`. All numbers stay within 0 to 20, so that each is one token of the tiny policy.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

LARGEST = 20
NAMES = ("Ann", "Ben", "Eva", "Tom")
ITEMS = ("apples", "books", "coins", "pens")
GAINS = ("buys", "finds", "gets")
LOSSES = ("gives away", "loses", "sells")


class Equation(NamedTuple):
    """`left operator right = result`."""

    left: int
    operator: str
    right: int
    result: int


@dataclass(frozen=True)
class Problem:
    """A question and the equations that answer it, each going on from the one before."""

    question: str
    equations: tuple[Equation, ...]

    @property
    def answer(self) -> int:
        """The number asked for."""
        return self.equations[-1].result

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
    """One wrong operation, and no other slip: every stated equation holds, but they do not answer the question."""
    places = list(range(len(problem.equations)))
    rng.shuffle(places)
    for place in places:
        equations = _with_mistake(problem.equations, place, rng)
        if equations is not None and equations[-1].result != problem.answer:
            return _solution(equations, equations[-1].result)
    return wrong_final_number(problem, rng)


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
    equations: list[Equation] = []
    if rng.random() < 1 / 3:
        bags, each = rng.randint(2, 5), rng.randint(2, 4)
        sentences = [f"{name} has {bags} bags of {each} {item}."]
        equations.append(Equation(bags, "*", each, bags * each))
        now, events = bags * each, 1
    else:
        now, events = rng.randint(1, LARGEST), 2
        sentences = [f"{name} has {now} {item}."]
    for _ in range(events):
        sentence, equation = _event(name, now, rng)
        sentences.append(sentence)
        equations.append(equation)
        now = equation.result
    sentences.append(f"How many {item} does {name} have?")
    return Problem(" ".join(sentences), tuple(equations))


def _event(name: str, now: int, rng: random.Random) -> tuple[str, Equation]:
    if now == 0 or (now < LARGEST and rng.random() < 0.5):
        number = rng.randint(1, LARGEST - now)
        return f"{name} {rng.choice(GAINS)} {number} more.", Equation(now, "+", number, now + number)
    number = rng.randint(1, now)
    return f"{name} {rng.choice(LOSSES)} {number}.", Equation(now, "-", number, now - number)


def _with_mistake(equations: tuple[Equation, ...], place: int, rng: random.Random) -> tuple[Equation, ...] | None:
    """The equations with another operation at `place`, carried on from there; None where the numbers allow no other."""
    asked = equations[place]
    others = [option for option in _operations(asked.left, asked.right) if option.result != asked.result]
    if not others:
        return None
    done = [*equations[:place], rng.choice(others)]
    for asked in equations[place + 1 :]:
        options = _operations(done[-1].result, asked.right)
        same = [option for option in options if option.operator == asked.operator]
        done.append((same or options)[0])
    return tuple(done)


def _operations(left: int, right: int) -> list[Equation]:
    """What can be done with two numbers without leaving the world's; there is always a difference."""
    options = (
        Equation(left, "+", right, left + right),
        Equation(left, "-", right, left - right),
        Equation(right, "-", left, right - left),
        Equation(left, "*", right, left * right),
    )
    return [option for option in options if 0 <= option.result <= LARGEST]


def _solution(equations: tuple[Equation, ...], answer: int) -> str:
    steps = " ".join(f"{left} {operator} {right} = {result}." for left, operator, right, result in equations)
    return f"{steps} #### {answer}"


def _other_number(answer: int, rng: random.Random) -> int:
    return rng.choice([number for number in range(LARGEST + 1) if number != answer])
