"""Checks of responses that expressions and schemas of others can make last for ever, with a limit of time."""

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

from larpo_lib.limited import LimitedProcess
from larpo_lib.rewards.rules.instruction import Instruction

JsonVerdict = Literal["accepted", "refused", "unread"]


class Followed(NamedTuple):
    """Whether each instruction is followed, and whether the language of a response that one asks for is unknown."""

    kept: list[bool]
    language_unknown: bool


def judged_json(schema: str, response: str, *, strip: bool, timeout_s: float) -> JsonVerdict | None:
    """Whether a schema accepts the JSON in a response.

    Args:
        schema: as JSON text; `schemas.read_schema` must be able to read it.
        response: text.
        strip: the JSON may stand in code fences.
        timeout_s: seconds of processor time that this may take.

    Returns:
        `unread`: there is no JSON. None: it took too long.
    """
    question = {"schema": schema, "response": response, "strip": strip, "timeout_s": timeout_s}
    told: JsonVerdict | None = _process().answer(question)
    return told


def judged_instructions(
    instructions: Sequence[Instruction], response: str, *, loose: bool, timeout_s: float
) -> Followed | None:
    """Which instructions a response follows, as `ifeval.followed` tells it; None: that took too long.

    Args:
        instructions: of the prompt.
        response: text.
        loose: see `ifeval.followed`.
        timeout_s: seconds of processor time that this may take.
    """
    question = {
        "ids": [each.id for each in instructions],
        "arguments": [each.model_dump() for each in instructions],
        "folders": _folders() if any(each.needs_punkt for each in instructions) else None,
        "response": response,
        "loose": loose,
        "timeout_s": timeout_s,
    }
    told = _process().answer(question)
    return None if told is None else Followed(*told)


@cache
def _process() -> LimitedProcess:
    """One for all rerankers: it takes a second to start where NLTK is needed."""
    return LimitedProcess("larpo_lib.rewards.rules.checks_process")


def _folders() -> list[str]:
    import nltk

    return [*nltk.data.path]
