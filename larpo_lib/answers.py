"""A response with what it answers, and whether it is right where the answer is a number.

Compares numbers, never substrings: 44 is not in 544.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from larpo_lib.errors import LarpoError
from larpo_lib.schemas import Messages


@dataclass(frozen=True)
class Scorable:
    """One response to score or to judge, with what it answers."""

    prompt_id: str
    messages: Messages
    response: str
    reference: str | None = None


_UNSIGNED = r"\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_NUMBER = rf"[-+]?{_UNSIGNED}"
_FINAL = re.compile(rf"(?:####|\bA:|\\boxed\{{)\s*({_NUMBER})")
_ANY = re.compile(_NUMBER)
_OPERATOR = r"[ \t]*(?:[-+*/×÷]|(?<![A-Za-z])x(?![ \t]*-))[ \t]*"  # noqa: RUF001


def _sum_of(operand: str) -> str:
    return rf"-?{operand}(?:{_OPERATOR}-?{operand})*"


_SIDE = _sum_of(rf"(?:{_UNSIGNED}|\({_sum_of(_UNSIGNED)}\))")
_EQUATIONS = re.compile(rf"((?<=[\w)%]){_OPERATOR})?(?<![\w.,)%])({_SIDE}(?:[ \t]*=[ \t]*{_SIDE})*)")
"""Sides joined by `=`, a lone side included so that none is read twice; the first group is there where the left side
goes on to the left with what is no number."""
_TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+|[-+*/x×÷()]")  # noqa: RUF001


def is_right(item: Scorable) -> bool:
    """Whether the response's final number equals the reference's.

    Raises:
        LarpoError: there is no reference, or one without a number.
    """
    wanted = final_number(item.reference) if item.reference is not None else None
    if wanted is None:
        raise LarpoError(
            f"prompt {item.prompt_id}: the verifier needs a reference with a number, not {item.reference!r}",
            remedy="Give prepare a reference column, or rerank with a reward model and leave evaluate.judge out",
        )
    return final_number(item.response) == wanted


def final_number(text: str) -> Fraction | None:
    """The number a text ends on: behind its last `####`, `A:` or `\\boxed{`, else its last number; None without any."""
    marked = _FINAL.findall(text)
    found = marked or _ANY.findall(text)
    return _number(found[-1]) if found else None


def states_answer(text: str) -> bool:
    """Whether a text marks its final number, by `####`, `A:` or `\\boxed{`."""
    return _FINAL.search(text) is not None


def equations_share(text: str) -> float:
    """Share of the equations stated in a text that hold; 0 where none is stated.

    An equation joins numbers by + - * / x, such as `3 + 4 = 7` or `.5 * (6 - 2) = 2`. `a = b = c` is two of them.
    What names units or unknowns, such as `3 bags * 4 = 12`, is none.
    """
    holding = [
        _holds(left, right)
        for cut, equations in _EQUATIONS.findall(text)
        if not cut
        for left, right in pairwise(equations.split("="))
        if _is_sum(left)
    ]
    return sum(holding) / len(holding) if holding else 0.0


def _is_sum(side: str) -> bool:
    return len(_ANY.findall(side)) > 1


def _holds(left: str, right: str) -> bool:
    """Whether two sides are equal, up to the precision the right one is written in; fractions are exact."""
    decimals = max((len(token.partition(".")[2]) for token in _TOKEN.findall(right)), default=0)
    slack = 0 if _is_sum(right) and not decimals else Fraction(1, 2 * 10**decimals)
    try:
        return abs(_sum(_tokens(left)) - _sum(_tokens(right))) <= slack
    except (ZeroDivisionError, ValueError):
        return False


def _tokens(side: str) -> list[str]:
    """The tokens of a side, last one first: its parser takes them off the end."""
    return _TOKEN.findall(side)[::-1]


def _sum(tokens: list[str]) -> Fraction:
    total = _product(tokens)
    while tokens and tokens[-1] in "+-":
        sign = 1 if tokens.pop() == "+" else -1
        total += sign * _product(tokens)
    return total


def _product(tokens: list[str]) -> Fraction:
    value = _operand(tokens)
    while tokens and tokens[-1] in "*/x×÷":  # noqa: RUF001
        value = value / _operand(tokens) if tokens.pop() in "/÷" else value * _operand(tokens)
    return value


def _operand(tokens: list[str]) -> Fraction:
    token = tokens.pop()
    if token == "-":  # noqa: S105 - no password
        return -_operand(tokens)
    if token == "(":  # noqa: S105
        value = _sum(tokens)
        tokens.pop()
        return value
    return Fraction(token.replace(",", ""))


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text.replace(",", "").replace("$", ""))
    except ValueError:  # a babbling policy writes numbers with more digits than Python reads
        return None
