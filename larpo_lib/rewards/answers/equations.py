"""Which share of the equations that a response states holds."""

import re
from fractions import Fraction
from itertools import pairwise

from larpo_lib.rewards.answers.arithmetic import Unreadable, evaluate
from larpo_lib.scripts import NO_NAMES

_UNSIGNED = r"\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_NUMBER = rf"[-+]?{_UNSIGNED}"
_ANY = re.compile(_NUMBER)
_OPERATOR = r"[ \t]*(?:[-+*/×÷]|(?<![A-Za-z])x(?![ \t]*-))[ \t]*"  # noqa: RUF001


def _sum_of(operand: str) -> str:
    return rf"-?{operand}(?:{_OPERATOR}-?{operand})*"


_SIDE = _sum_of(rf"(?:{_UNSIGNED}|\({_sum_of(_UNSIGNED)}\))")
_EQUATIONS = re.compile(
    rf"((?<=[\w)%]){_OPERATOR})?(?<![\d.,)%])(?<![^\W{NO_NAMES}])({_SIDE}(?:[ \t]*=[ \t]*{_SIDE})*)"
)
"""Sides joined by `=`, a lone side included so that none is read twice; the first group is there where the left side
goes on to the left with what is no number."""
_DECIMALS = re.compile(r"\.(\d+)")
_ASCII = str.maketrans("＋－＊／＝（）．％＄", "+-*/=().%$")  # noqa: RUF001 - as they stand in East Asian text
_PLAIN = str.maketrans({"x": "*", "×": "*", "÷": "/"} | dict.fromkeys(" \t,$"))  # noqa: RUF001


def equations_share(text: str) -> float:
    """Share of the equations stated in a text that hold; 0 where none is stated.

    An equation joins numbers by + - * / x, such as `3 + 4 = 7` or `.5 * (6 - 2) = 2`. `a = b = c` is two of them.
    What names units or unknowns, such as `3 bags * 4 = 12`, is none.
    """
    holding = [
        _holds(left, right)
        for cut, equations in _EQUATIONS.findall(text.translate(_ASCII))
        if not cut
        for left, right in pairwise(equations.split("="))
        if _is_sum(left)
    ]
    return sum(holding) / len(holding) if holding else 0.0


def _is_sum(side: str) -> bool:
    return len(_ANY.findall(side)) > 1


def _holds(left: str, right: str) -> bool:
    """Whether two sides are equal, up to the precision the right one is written in; fractions are exact."""
    decimals = max(map(len, _DECIMALS.findall(right)), default=0)
    slack = 0 if _is_sum(right) and not decimals else Fraction(1, 2 * 10**decimals)
    try:
        return abs(_value(left) - _value(right)) <= slack
    except Unreadable:  # such as a division by 0
        return False


def _value(side: str) -> Fraction:
    return evaluate(side.translate(_PLAIN), most_tokens=len(side))
