"""Numbers as people and LaTeX write them, and what is reckoned from them, exactly."""

import math
import re
from fractions import Fraction

from larpo_lib.rewards.answers.plain import FRACTION

_GROUPED = "|".join(
    (
        r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?!,?\d)",  # 9,500.25
        r"[1-9]\d?(?:,\d\d)+,\d{3}(?:\.\d+)?(?!,?\d)",  # 1,00,000, as in India
        r"[1-9]\d{0,2}(?: \d{3})+(?:[.,]\d+)?(?! ?[\d/\u2044])",
        r"[1-9]\d{0,2}(?:'\d{3})+(?:\.\d+)?(?!\d)",
        r"[1-9]\d{0,2}(?:_\d{3})+(?:\.\d+)?(?!\d)",
        r"[1-9]\d{0,2}(?:\.\d{3})+,\d+(?!\d)",  # 9.500,25
        r"[1-9]\d{0,2}(?:\.\d{3}){2,}(?![.\d])",
    )
)
NUMBER = rf"(?:{_GROUPED}|\d+(?:\.\d+)?|\.\d+)"
"""An unsigned number with or without thousands separators."""
_DECIMAL_COMMA = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+,\d+|[1-9]\d{0,2}(?: \d{3})+,\d+")
_MANY_DOTS = re.compile(r"\d+(?:\.\d{3}){2,}")
_TOKEN = re.compile(
    rf" ?(?:(?P<repeating>\d*\.\d*\\overline ?\{{\d+\}})|(?P<mixed>\d+ \d+[{FRACTION}/]\d+(?![\d.,]))"
    rf"|(?P<fraction>\d+{FRACTION}\d+)|(?P<number>{NUMBER})(?P<exponent>[eE][-+]?\d{{1,4}}(?![\w.]))?"
    r"|(?P<word>\\frac|\\sqrt|sqrt|\\[{}])|(?P<times>[xX](?= ?[\d.]))|(?P<sign>[-+*/^(){}\[\]!]))"
)
_REPEATING = re.compile(r"(\d*)\.(\d*)\\overline ?\{(\d+)\}")
_MOST_TOKENS = 200
_DEEPEST = 40
_MOST_BITS = 20_000
_LARGEST_FACTORIAL = 500


class Unreadable(Exception):  # noqa: N818 - control flow inside this package, never seen outside
    """The text is no number, nor arithmetic of numbers."""


def number(text: str) -> Fraction:
    """The value of what NUMBER matches.

    Raises:
        Unreadable: it has more digits than Python reads.
    """
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    elif _MANY_DOTS.fullmatch(text):
        text = text.replace(".", "")
    whole, _, decimals = re.sub("[, '_]", "", text).partition(".")
    try:
        return Fraction(int(whole + decimals), 10 ** len(decimals))
    except ValueError:
        raise Unreadable from None


def evaluate(text: str, most_tokens: int = _MOST_TOKENS) -> Fraction:
    """The value of an expression of numbers in plain notation, such as `1 1/2`, `3*10^4`, `\\sqrt{16}` or `5!`.

    Raises:
        Unreadable: it is no such expression, is not rational, or is too large: in value, or of more than `most_tokens`.
    """
    reader = _Reader(_tokens(text, most_tokens))
    value = reader.sum()
    if reader.left:
        raise Unreadable
    return value


Token = tuple[str, str]


def _tokens(text: str, most: int) -> list[Token]:
    """Kind and text of each token, last one first."""
    found: list[Token] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        token = _TOKEN.match(text, place)
        if token is None or len(found) > most:
            raise Unreadable
        kind = token.lastgroup or ""
        if kind == "exponent":
            found += [("exponent", token["exponent"][1:]), ("number", token["number"])][::-1]
        else:
            found.append((kind, "*" if kind == "times" else token[kind]))
        place = token.end()
    return found[::-1]


class _Reader:
    """Recursive descent over tokens, the last one of which comes first."""

    def __init__(self, tokens: list[Token]) -> None:
        self.left = tokens
        self._depth = 0

    def sum(self) -> Fraction:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable
        total = self._product()
        while self._next() in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            total = _small(total + sign * self._product())
        self._depth -= 1
        return total

    def _product(self) -> Fraction:
        value = self._signed()
        while (operator := self._next()) in ("*", "/", "(", "\\sqrt", "sqrt", "\\frac"):
            if operator in ("*", "/"):
                self._take()
            other = self._signed()
            if operator == "/" and not other:
                raise Unreadable
            value = _small(value / other if operator == "/" else value * other)
        return value

    def _signed(self) -> Fraction:
        sign = 1
        while self._next() in ("+", "-"):
            sign = -sign if self._take() == "-" else sign
        return sign * self._power()

    def _power(self) -> Fraction:
        base = self._operand()
        while self._next() == "!":
            self._take()
            if base.denominator != 1 or not 0 <= base <= _LARGEST_FACTORIAL:
                raise Unreadable
            base = Fraction(math.factorial(base.numerator))
        if self._next() != "^":
            return base
        self._take()
        return _raised(base, self._signed())

    def _operand(self) -> Fraction:
        if not self.left:
            raise Unreadable
        kind, text = self.left.pop()
        if kind == "number":
            value = number(text)
            if self.left and self.left[-1][0] == "exponent":
                return _raised(Fraction(10), Fraction(int(self.left.pop()[1]))) * value
            return value
        if kind in ("mixed", "fraction", "repeating"):
            return _written(kind, text)
        if text in ("(", "{", "["):
            value = self.sum()
            self._close(text)
            return value
        if text == "\\frac":
            top, bottom = self._argument(), self._argument()
            if not bottom:
                raise Unreadable
            return _small(top / bottom)
        if text in ("\\sqrt", "sqrt") and self._next() != "[":  # other roots are none of ours
            return _root(self._argument() if self._next() == "{" else self._operand())
        raise Unreadable

    def _argument(self) -> Fraction:
        """What stands in braces."""
        if self._next() != "{":
            raise Unreadable
        return self._operand()

    def _close(self, opened: str) -> None:
        if self._next() != {"(": ")", "{": "}", "[": "]"}[opened]:
            raise Unreadable
        self._take()

    def _next(self) -> str | None:
        return self.left[-1][1] if self.left else None

    def _take(self) -> str:
        return self.left.pop()[1]


def _written(kind: str, text: str) -> Fraction:
    if kind == "repeating":
        return _repeating(text)
    whole, _, rest = text.rpartition(" ")
    top, bottom = (number(part) for part in rest.replace(FRACTION, "/").split("/"))
    if not bottom:
        raise Unreadable
    return (number(whole) if whole else 0) + top / bottom


def _repeating(text: str) -> Fraction:
    found = _REPEATING.fullmatch(text)
    assert found is not None
    whole, first, period = found.groups()
    fixed = number((whole or "0") + first)
    cycle = Fraction(number(period), 10 ** len(period) - 1)
    return Fraction((fixed + cycle) / 10 ** len(first))


def _raised(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise Unreadable
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * bits > _MOST_BITS or (not base and exponent <= 0):
        raise Unreadable
    return Fraction(base ** int(exponent))


def _root(value: Fraction) -> Fraction:
    if value < 0:
        raise Unreadable
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root != value:
        raise Unreadable
    return root


def _small(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise Unreadable
    return value
