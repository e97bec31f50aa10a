"""What an answer in numbers is: one number, with its unit, or several as a tuple, a list, a time or a range."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True)
class Quantity:
    """A number.

    Attributes:
        value: exact.
        percent: whether it is written as percents, which `value` counts.
        unit: dimension and size of its unit of measurement; None where it has none that is known.
        decimals: whether it is written with a decimal point.
    """

    value: Fraction
    percent: bool = False
    unit: tuple[str, Fraction] | None = None
    decimals: bool = False


Kind = Literal["()", "[]", "(]", "[)", "{}", "list", "range", "time", "base"]


@dataclass(frozen=True)
class Several:
    """Several numbers, in their order. A `time` is also a ratio, such as 2:30; `base` is a numeral and its base."""

    kind: Kind
    parts: tuple[Quantity, ...]


Value = Quantity | Several


def same(one: Value, other: Value) -> bool:
    """Whether two values are the same answer.

    A percent equals its number and its hundredth. Units count where both have one: 1 m is 100 cm and no 100 kg. The
    order of a list and of a set does not; a list in the order of a tuple is that tuple.
    """
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        return _same_quantity(one, other)
    if isinstance(one, Quantity) or isinstance(other, Quantity):
        return False
    if len(one.parts) != len(other.parts):
        return False
    kinds = {one.kind, other.kind}
    if kinds <= {"list", "{}"}:
        return _same_in_some_order(one.parts, other.parts)
    return (len(kinds) == 1 or kinds == {"list", "()"}) and all(map(_same_quantity, one.parts, other.parts))


def _same_in_some_order(some: Sequence[Quantity], others: Sequence[Quantity]) -> bool:
    left = list(others)
    for part in some:
        match = next((other for other in left if _same_quantity(part, other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _same_quantity(one: Quantity, other: Quantity) -> bool:
    if one.unit is not None and other.unit is not None:
        return one.unit[0] == other.unit[0] and one.value * one.unit[1] == other.value * other.unit[1]
    if one.value == other.value:
        return True
    return one.percent != other.percent and (one.value if one.percent else other.value) == 100 * (
        other.value if one.percent else one.value
    )
