"""Which share of the equations that a response states holds."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

_UNSIGNED = r"\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_NUMBER = rf"[-+]?{_UNSIGNED}"
_ANY = re.compile(_NUMBER)
_OPERATOR = r"[ \t]*(?:[-+*/×÷]|(?<![A-Za-z])x(?![ \t]*-))[ \t]*"  # noqa: RUF001


def _sum_of(operand: str) -> str:
    return rf"-?{operand}(?:{_OPERATOR}-?{operand})*"


_SIDE = _sum_of(rf"(?:{_UNSIGNED}|\({_sum_of(_UNSIGNED)}\))")
_EQUATIONS = re.compile(rf"((?<=[\w)%]){_OPERATOR})?(?<![\w.,)%])({_SIDE}(?:[ \t]*=[ \t]*{_SIDE})*)")
"""Sides joined by `=`, a lone side included so that none is read twice; the first group is there where the left side
goes on to the left with what is no number."""
_TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+|[-+*/x×÷()]")  # noqa: RUF001


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
