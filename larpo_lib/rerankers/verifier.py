"""Checks answers to problems whose result is a number. Compares numbers, never substrings: 44 is not in 544."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from larpo_lib.config import VerifierConfig
from larpo_lib.errors import LarpoError
from larpo_lib.rerankers.base import Scorable

_NUMBER = r"[-+]?\$?\d[\d,]*(?:\.\d+)?|[-+]?\$?\.\d+"
_FINAL = re.compile(rf"(?:####|\bA:|\\boxed\{{)\s*({_NUMBER})")
_ANY = re.compile(_NUMBER)
_OPERAND = r"\d[\d,]*(?:\.\d+)?"
_EQUATION = re.compile(rf"({_OPERAND}(?:\s*[-+*/x×÷]\s*{_OPERAND})+)\s*=\s*\$?\s*([-+]?{_OPERAND})")  # noqa: RUF001
_TOKEN = re.compile(rf"{_OPERAND}|[-+*/x×÷]")  # noqa: RUF001


class VerifierReranker:
    """Scores a response by its final number, and in `graded` mode also by its reasoning.

    Graded reward = answer_weight * (final number right) + steps_weight * (share of stated equations that hold)
    + format_weight * (a final answer is stated).
    """

    list_relative = False

    def __init__(self, config: VerifierConfig) -> None:
        self._config = config
        self.name = f"verifier-{config.mode}"

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each response against its reference.

        Raises:
            LarpoError: a prompt has no reference, or one without a number.
        """
        return [self._score(item) for item in items]

    def _score(self, item: Scorable) -> float:
        right = is_right(item)
        if self._config.mode == "exact":
            return float(right)
        return (
            self._config.answer_weight * right
            + self._config.steps_weight * equations_share(item.response)
            + self._config.format_weight * (_FINAL.search(item.response) is not None)
        )


def is_right(item: Scorable) -> bool:
    """Whether the response's final number equals the reference's."""
    wanted = final_number(item.reference) if item.reference is not None else None
    if wanted is None:
        raise LarpoError(
            f"prompt {item.prompt_id}: the verifier needs a reference with a number, not {item.reference!r}",
            remedy="Give prepare a reference column, or use a reward model as reranker",
        )
    return final_number(item.response) == wanted


def final_number(text: str) -> Fraction | None:
    """The number a text ends on: behind its last `####`, `A:` or `\\boxed{`, else its last number; None without any."""
    marked = _FINAL.findall(text)
    found = marked or _ANY.findall(text)
    return _number(found[-1]) if found else None


def equations_share(text: str) -> float:
    """Share of the equations stated in a text, such as `3 + 4 = 7`, that hold; 0 where none is stated."""
    equations = _EQUATION.findall(text)
    if not equations:
        return 0.0
    return sum(_holds(expression, result) for expression, result in equations) / len(equations)


def _holds(expression: str, result: str) -> bool:
    """Whether an expression of numbers and operators gives `result`, up to the precision `result` is written in."""
    value = _evaluate(_TOKEN.findall(expression))
    stated = _number(result)
    decimals = len(result.partition(".")[2])
    return value is not None and stated is not None and abs(value - stated) <= Fraction(1, 2 * 10**decimals)


def _evaluate(tokens: list[str]) -> Fraction | None:
    """Left to right, products and quotients before sums and differences; None on division by zero."""
    terms = [_number(tokens[0])]
    for operator, operand in zip(tokens[1::2], tokens[2::2], strict=True):
        number, last = _number(operand), terms[-1]
        if number is None or last is None:
            return None
        if operator in "+-":
            terms.append(number if operator == "+" else -number)
        elif operator in "*x×":  # noqa: RUF001
            terms[-1] = last * number
        elif number == 0:
            return None
        else:
            terms[-1] = last / number
    return sum((term for term in terms if term is not None), Fraction(0))


def _number(text: str) -> Fraction | None:
    plain = text.replace(",", "").replace("$", "")
    return Fraction(plain) if re.fullmatch(r"[-+]?(\d+(\.\d+)?|\.\d+)", plain) else None
