"""What a judge's reply says: a grade, which of two responses is better, or a ranking. Never a guess.

Thoughts before the reply are left out, and unfinished ones leave nothing that could be read. Where a chat template
opens `<think>` in the prompt, a reply that is cut inside its thoughts has no tag that says so. So a reply that is cut
is only read if it is nothing but the decision.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from larpo_lib.judging import completions
from larpo_lib.judging.decisions import Answer
from larpo_lib.judging.tokens import SPACE
from larpo_lib.thinking import without_thoughts

_SCALE = r"(?:\s*(?:/|out of)\s*(\d+(?:\.\d+)?))?(\s*[%\uff05])?"
_MARKED_GRADE = re.compile(rf"\[\[\s*(\d+(?:\.\d+)?)\s*\]\]{_SCALE}", re.ASCII)
_BARE_GRADE = re.compile(
    rf"[^\w-]*(?:(?:the\s+)?(?:grade|score|rating)\b(?:\s+is\b)?[^\w-]*)?(\d+(?:\.\d+)?){_SCALE}\W*",
    re.ASCII | re.IGNORECASE,
)
_MARKED_LETTER = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_BARE_LETTER = re.compile(r"\W*(?:(?i:response)\W+)?([ABC])\W*")
_SIGN = r"(?:\s*(?:>+=?|[\u2265\u227b])\s*|(?<=\])\s*=+\s*(?=\[))"
"""Better, as good or better, and between brackets as good."""
_CHAIN = re.compile(rf"(?<!\d)\[?\d{{1,9}}\]?(?:{_SIGN}\[?\d{{1,9}}(?!\d)\]?)+", re.ASCII)
_BARE_CHAIN = re.compile(rf"\W*\[\d{{1,9}}\](?:{_SIGN}\[\d{{1,9}}\])+\W*", re.ASCII)
"""In brackets: the last number of a chain that is cut may lack digits."""
_SHARES = {"A": 1.0, "B": 0.0, "C": 0.5}
_MOST = 1.02
"""The probabilities of one token together, as far as they are rounded."""


@dataclass(frozen=True)
class Grade:
    """A grade.

    Attributes:
        value: the expected grade if there are probabilities, else the one that was written.
        unread: the probability of what is no grade; None: there are no probabilities.
    """

    value: float
    unread: float | None = None


class _Chance(BaseModel):
    token: str
    logprob: float = Field(le=0.001)  # rounding may leave it above 0; a probability is no more than 1, and not NaN


class _Token(_Chance):
    top_logprobs: list[_Chance] = []

    @field_validator("top_logprobs", mode="after")
    @classmethod
    def _are_chances(cls, found: list[_Chance]) -> list[_Chance]:
        if math.fsum(math.exp(chance.logprob) for chance in found) > _MOST:
            raise ValueError("their probabilities are more than 1 together")  # as of a token that stands there twice
        return found


class _Tokens(BaseModel):
    content: list[_Token]


def read_grade(answer: Answer, lowest: int, highest: int) -> Grade | None:
    """The grade that a reply gives as [[4]], the last one if there are several, or that is the whole of it.

    A grade of another scale, such as 4/10 or 5%, is none.

    Where the answer has the probabilities of the grade's token, the value is the expected grade: the sum of p * grade
    over the tokens that are grades, divided by the sum of these p (G-Eval, Liu et al. 2023, arXiv 2303.16634, eq. 1).

    Args:
        answer: of the judge.
        lowest: grade there is, of one digit, as `highest` is.
        highest: grade there is.
    """
    text = completions.text(answer)
    reply = without_thoughts(text)
    marked = [] if completions.is_cut(answer) else list(_MARKED_GRADE.finditer(reply))
    found = marked[-1] if marked else _BARE_GRADE.fullmatch(reply)
    if found is None or not lowest <= float(found[1]) <= highest or found[3] or float(found[2] or highest) != highest:
        return None
    chances = _chances(answer, text, len(text) - len(reply) + found.start(1), found[1])
    of_grades = [
        (int(token), chance)
        for token, chance in chances
        if re.fullmatch("[0-9]", token) and lowest <= int(token) <= highest
    ]
    mass = math.fsum(chance for _, chance in of_grades)
    if not mass:
        return Grade(float(found[1]))
    return Grade(math.fsum(grade * chance for grade, chance in of_grades) / mass, max(0.0, 1.0 - mass))


def read_verdict(answer: Answer) -> float | None:
    """The first response's share of the win: 1 for A, 0 for B, 0.5 for C, as [[A]] or as the whole reply."""
    reply = without_thoughts(completions.text(answer))
    marked = [] if completions.is_cut(answer) else _MARKED_LETTER.findall(reply)
    if marked:
        return _SHARES[marked[-1]]
    bare = _BARE_LETTER.fullmatch(reply)
    return None if bare is None else _SHARES[bare[1]]


def read_rankings(answer: Answer) -> list[list[int]] | None:
    """The numbers of every ranking in a reply, in the form [2] > [1] > [3], as they stand there.

    The sign may also be >>, >=, the signs that mathematics has for them or, between brackets, =.
    """
    reply = without_thoughts(completions.text(answer))
    if completions.is_cut(answer) and not _BARE_CHAIN.fullmatch(reply):
        return None
    chains = _CHAIN.findall(reply)
    return [[int(number) for number in re.findall(r"\d+", chain, re.ASCII)] for chain in chains] or None


def whole_ranking(said: Sequence[Sequence[int]], count: int) -> tuple[list[int], bool]:
    """A ranking of 1 to `count`, from 0, and whether it had to be repaired.

    It is the last that holds each number, else the last, repaired as RankGPT does (Sun et al. 2023, arXiv 2304.09542):
    of a number that stands twice the first place counts, numbers that there are none of are left out, and missing ones
    follow in the order in which they were shown.

    Args:
        said: the rankings of a reply, at least one.
        count: of the responses that were shown.
    """
    every = set(range(1, count + 1))
    chosen = next((ranking for ranking in reversed(said) if every <= set(ranking)), said[-1])
    known = dict.fromkeys(number - 1 for number in chosen if number in every)
    order = [*known, *(place for place in range(count) if place not in known)]
    return order, [number - 1 for number in chosen] != order


def _chances(answer: Answer, text: str, place: int, grade: str) -> list[tuple[str, float]]:
    """The tokens that might have stood where the grade stands, with their probabilities; none if it is no token.

    Args:
        answer: of the judge.
        text: what it says.
        place: of the grade in the text.
        grade: as it is written.
    """
    found: Any = answer["choices"][0].get("logprobs")
    try:
        tokens = _Tokens.model_validate(found).content
    except ValidationError:  # a server that gives none, or in another form
        return []
    written = [SPACE.sub("", token.token) for token in tokens]
    start = "".join(written).rfind(SPACE.sub("", text))  # thoughts that a server takes apart stand before it
    behind = start + len(SPACE.sub("", text[:place]))
    for token, bare in zip(tokens, written, strict=True) if start >= 0 else ():
        if behind < len(bare):
            chosen = [token] if all(other.token != token.token for other in token.top_logprobs) else []
            others = [*token.top_logprobs, *chosen] if bare == grade else []
            return [(SPACE.sub("", other.token), math.exp(other.logprob)) for other in others]
        behind -= len(bare)
    return []
