"""What an instruction that can be checked is: its arguments are its settings."""

import re
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, StringConstraints

from larpo_lib.config.base import Section

Relation = Literal["less than", "at least"]
Count = NonNegativeInt
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is read as a regular expression, and is none: {error}; write \\ before signs") from None
    return text


Pattern = Annotated[Text, AfterValidator(_pattern)]
"""What IFEval looks for as a regular expression, though it is a word nearly always."""
Patterns = Annotated[list[Annotated[str, AfterValidator(_pattern)]], Field(min_length=1)]


class Instruction(Section):
    """One of IFEval's instructions with its arguments.

    Attributes:
        id: the name that IFEval gives it.
        needs_punkt: it counts sentences or words by NLTK's model.
        needs_language: it asks which language a response is in.
    """

    id: ClassVar[str]
    needs_punkt: ClassVar[bool] = False
    needs_language: ClassVar[bool] = False

    @abstractmethod
    def follows(self, response: str) -> bool:
        """Whether a response that is not empty follows it."""


def compare(number: int, relation: Relation, bound: int) -> bool:
    """Whether a number is less than a bound, or at least it."""
    return number < bound if relation == "less than" else number >= bound


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments without those that are null, which tables with the columns of all instructions have."""
    return {name: value for name, value in arguments.items() if value is not None}
