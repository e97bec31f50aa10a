"""IFEval's instructions by name, and whether a response follows them, strictly or loosely.

Source: Zhou et al. 2023, arXiv:2311.07911.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from larpo_lib.parsing import parse_json
from larpo_lib.rewards.rules import contents, formats
from larpo_lib.rewards.rules.instruction import Instruction, given

INSTRUCTIONS: dict[str, type[Instruction]] = {
    value.id: value
    for module in (contents, formats)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Instruction) and value is not Instruction
}
"""All there are, by the names that IFEval gives them."""


def read_instructions(ids: Any, arguments: Any) -> list[Instruction]:
    """The instructions of a prompt.

    Args:
        ids: their names, a list.
        arguments: of each its arguments, null where it has none of a name; a list, or JSON of one.

    Raises:
        ValueError: tells what is wrong with them.
    """
    if isinstance(arguments, str):
        try:
            arguments = parse_json(arguments)
        except ValueError as error:
            raise ValueError(f"its arguments are text, but no JSON: {error}") from None
    if not isinstance(ids, list) or not ids:
        raise ValueError("has no list of instructions")
    if not isinstance(arguments, list) or len(arguments) != len(ids):
        raise ValueError(f"has {len(ids)} instructions, and not as many tables of arguments")
    return [_read(name, own) for name, own in zip(ids, arguments, strict=True)]


def _read(name: Any, arguments: Any) -> Instruction:
    kind = INSTRUCTIONS.get(name)
    if kind is None:
        raise ValueError(f"has the instruction {name!r}, which is none of {', '.join(sorted(INSTRUCTIONS))}")
    if not isinstance(arguments, dict | None):
        raise ValueError(f"{name}: its arguments are no table")
    try:
        return kind.model_validate(given(arguments or {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name}: {place + ': ' if place else ''}{problem}") from None


def followed(instructions: Sequence[Instruction], response: str, *, loose: bool) -> list[bool]:
    """Whether a response follows each instruction; loosely: where one of its `variants` does. Empty text follows none.

    Args:
        instructions: of the prompt.
        response: text.
        loose: without what models say before and after, and without marks for emphasis.
    """
    texts = [text for text in (variants(response) if loose else [response]) if text.strip()]
    return [any(instruction.follows(text) for text in texts) for instruction in instructions]


def variants(response: str) -> list[str]:
    """The text, without its first line, its last, or both, and each of these without stars (section 3.1)."""
    lines = response.split("\n")
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys(cut + [text.replace("*", "") for text in cut]))
