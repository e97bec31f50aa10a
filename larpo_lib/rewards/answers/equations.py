"""Which share of the equations that a response states holds."""

import re
from fractions import Fraction
from itertools import pairwise

from larpo_lib.rewards.answers.arithmetic import Unreadable, evaluate
from larpo_lib.rewards.answers.plain import FRACTION, with_plain_signs
from larpo_lib.scripts import NO_NAMES

_UNSIGNED = rf"\$?(?:\d++ [1-9]\d?[/{FRACTION}]\d+(?!\.?\d)|\d[\d,]*(?:\.\d+)?|\.\d+)"
_NUMBER = rf"[-+]?{_UNSIGNED}"
_ANY = re.compile(_NUMBER)
_OPERATOR = rf" ?(?:[-+*/{FRACTION}]|(?<![A-Za-z])x(?! ?-)) ?"


def _sum_of(operand: str) -> str:
    return rf"-?{operand}(?:{_OPERATOR}-?{operand})*"


_SIDE = _sum_of(rf"(?:{_UNSIGNED}|\({_sum_of(_UNSIGNED)}\))")
_SPOKEN = r" ?(?:percent )?(?:of|times|plus|minus|(?:divided|multiplied) by) "
_THOUSANDS = r"(?<=\d)(?<!\d{4})(?<![.,]\d)(?<![.,]\d\d)(?<![.,]\d{3}) (?=\d{3}(?!\d))"
_COMMAND = (
    r"\\(?:sqrt|frac|d?binom|(?:arc)?(?:sin|cos|tan)h?|cot|sec|csc|log|ln|lg|exp|i*int|oint|sum|prod|lim|max|min|sup|inf|"
    r"gcd|lcm|det|[bp]?mod|pm|mp|pi|tau|theta|alpha|beta|gamma|lambda|mu|sigma|omega)(?![A-Za-z])"
)
"""Makes another value of a number beside it; other commands, such as \\newline, only set it."""
_BEFORE = (
    rf"(?:(?<=[\w)%\]}}^])|(?<=[\d)][!$])){_OPERATOR}|(?<=[\d)%]){_SPOKEN}|{_THOUSANDS}"
    rf"|{_COMMAND}(?:[_^](?:\{{[^{{}}]{{0,40}}\}}|\w))* ?"
)
_UNKNOWN = r"[-+*] ?[b-zB-HJ-Z](?![\w.'])"  # not `a` and `I`, which begin a remark behind a dash
_PERCENT = r" ?(?:%|percent)"
_BEHIND = (
    rf" ?(?:\^|{FRACTION}|[-+*/] ?(?:\\|\(\S)|{_UNKNOWN}|{_COMMAND})|{_PERCENT} ?(?:of |[-+*/x] ?[\d.$(\\])"
    rf"|\((?=[-\d(])(?![^()\\]{{0,60}}?[A-Za-z]{{2}})|{_THOUSANDS}"
)
_EQUATIONS = re.compile(
    rf"({_BEFORE})?(?<![\d.,)%^])(?<![^\W{NO_NAMES}])({_SIDE}(?: ?= ?{_SIDE})*)(?=({_BEHIND})|({_PERCENT})?)"
)
"""Sides joined by `=`, a lone side included so that none is read twice; the first group is there where the left side
goes on to the left with what is not read, such as a unit, a power or a root, the third one where the right side does to
the right, and the last one where the right side is a percentage."""
_DECIMALS = re.compile(r"\.(\d+)")
_POWER = re.compile(r"(?<=[\w)])\*\*(?=[-\d(])|(?<=[\d)]) \*\* (?=[-\d(])")
_ITEMS = dict.fromkeys(map(chr, range(0x2460, 0x2474)), " ")  # numbers in circles
_SIGNS = str.maketrans(_ITEMS | {"\uff0c": ", "} | dict.fromkeys("\u20ac\u00a3\u00a5\uffe5\u20b9", "$"))
_PLAIN = str.maketrans({"x": "*"} | dict.fromkeys(",$"))


def equations_share(text: str) -> float:
    """Share of the equations stated in a text that hold; 0 where none is stated.

    An equation joins numbers by + - * / x, such as `3 + 4 = 7` or `.5 * (6 - 2) = 2`, or by other signs and LaTeX for
    them, such as `2 \\times 3 = 6`. `a = b = c` is two of them. What contains units, unknowns, powers, roots or
    operations in words, such as `3 bags * 4 = 12` or `2^3 + 1 = 9`, is none, and no part of it is. A right side may
    be a percentage: `1 / 4 = 25%` and `100 - 75 = 25%` hold.
    """
    text = with_plain_signs(text.translate(_SIGNS))
    if "**" in text:
        text = _POWER.sub("^", text).replace("**", "")
    holding = [
        _holds(left, right)
        for before, equations, behind, percent in _EQUATIONS.findall(text)
        if not before
        for left, right in pairwise((equations + percent).split("=")[: -1 if behind else None])
        if _is_sum(left)
    ]
    return sum(holding) / len(holding) if holding else 0.0


def _is_sum(side: str) -> bool:
    return len(_ANY.findall(side)) > 1


def _holds(left: str, right: str) -> bool:
    """Whether two sides are equal, up to the precision the right one is written in; fractions are exact.

    A percentage is equal to its number, or to a hundredth of it.
    """
    right, percent = re.subn(_PERCENT, "", right)
    decimals = max(map(len, _DECIMALS.findall(right)), default=0)
    slack = 0 if _is_sum(right) and not decimals else Fraction(1, 2 * 10**decimals)
    try:
        found, stated = _value(left), _value(right)
    except Unreadable:  # such as a division by 0
        return False
    return any(abs(found * scale - stated) <= slack for scale in ((1, 100) if percent else (1,)))


def _value(side: str) -> Fraction:
    return evaluate(side.translate(_PLAIN), most_tokens=len(side))
