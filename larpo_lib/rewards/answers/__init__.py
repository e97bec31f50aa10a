"""A response with what it answers, and whether it is right.

Compares values, never substrings: 44 is not in 544, and 1/2 is .5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from larpo_lib.errors import LarpoError
from larpo_lib.rewards.answers.equations import equations_share
from larpo_lib.rewards.answers.reading import has_words, is_prose, last, leading, readings
from larpo_lib.rewards.answers.statements import Statement, statement
from larpo_lib.rewards.answers.values import Quantity, Value, same
from larpo_lib.schemas import Messages

_FORMULA = re.compile(r"[\\^_{}]")


@dataclass(frozen=True)
class Scorable:
    """One response to score or to judge, with what it answers; `columns`: further ones of the prompt's row."""

    prompt_id: str
    messages: Messages
    response: str
    reference: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


def is_right(item: Scorable) -> bool:
    """Whether the response's final answer is the reference's: a number, or several as a tuple, list, time or range.

    Raises:
        LarpoError: there is no reference, or one without a number.
    """
    wanted = () if item.reference is None else final_values(item.reference)
    if not wanted:
        raise LarpoError(
            f"prompt {item.prompt_id}: the verifier needs a reference that contains a number, not {item.reference!r}",
            remedy="Set prepare.columns.reference, set the verifier's mode to math if answers are expressions, or "
            "rerank with a reward model and remove evaluate.judge",
        )
    return same_answer(wanted, final_values(item.response))


def same_answer(wanted: tuple[Value, ...], given: tuple[Value, ...]) -> bool:
    """Whether two answers have a reading in common; an answer that cannot be read is no other's."""
    return any(same(one, other) for one in wanted for other in given)


def final_values(text: str) -> tuple[Value, ...]:
    """The ways to read a text's final answer as numbers, nearly always one; none where it cannot be read.

    The answer stands in the last `\\boxed{}`, behind the last `####` or `A:`, else behind the last "answer is", else it
    is the last number. What is marked is the answer: where it cannot be read, no other number is taken for it.
    """
    return values_of(statement(text))


def values_of(stated: Statement) -> tuple[Value, ...]:
    """The ways to read a statement as numbers."""
    lone = stated.place == "text" and not has_words(stated.text)  # so that `5!` is 120
    text = stated.text if stated.place == "box" or lone else stated.text.rstrip("! ")
    begins = stated.place in ("mark", "sentence") or (stated.place == "box" and has_words(text))
    found = readings(text) or (leading(text) if begins else ())
    if found or stated.place == "mark" or not is_prose(text) or (stated.place == "box" and _FORMULA.search(text)):
        return found
    return last(text)


def final_number(text: str) -> Fraction | None:
    """The number that a text's final answer is; None without any, and where it is several, such as (3, 4) or 18-20."""
    found = [value.value for value in final_values(text) if isinstance(value, Quantity)]
    return found[0] if found else None


def states_answer(text: str) -> bool:
    """Whether a text marks its final answer, by `####`, `A:` or `\\boxed{`, and numbers can be read in it."""
    stated = statement(text)
    return stated.place in ("box", "mark") and bool(values_of(stated))


__all__ = [
    "Quantity",
    "Scorable",
    "Value",
    "equations_share",
    "final_number",
    "final_values",
    "is_right",
    "same_answer",
    "states_answer",
    "values_of",
]
