"""The process behind `checks`. What is loaded, or read of a prompt, takes none of the time that a response has."""

from typing import Any

from larpo_lib.limited.child import answer_questions, within
from larpo_lib.rewards.rules.ifeval import followed, read_instructions
from larpo_lib.rewards.rules.instruction import Instruction
from larpo_lib.rewards.rules.languages import known_languages, language_of
from larpo_lib.rewards.rules.schemas import Schema, parse_json, read_schema, without_fences
from larpo_lib.rewards.rules.sentences import look_in, words


def _answered(question: dict[str, Any]) -> Any:
    if "schema" in question:
        schema = read_schema(question["schema"])
        return within(question["timeout_s"], lambda: _json(schema, question["response"], question["strip"]))
    instructions = read_instructions(question["ids"], question["arguments"])
    if question["folders"] is not None:
        look_in(question["folders"])
        words("Loaded.")
    asks_language = any(each.needs_language for each in instructions)
    if asks_language:
        known_languages()
    return within(
        question["timeout_s"],
        lambda: _instructions(instructions, question["response"], question["loose"], asks_language),
    )


def _json(schema: Schema, response: str, strip: bool) -> str:
    try:
        value = parse_json(without_fences(response) if strip else response)
    except ValueError:
        return "unread"
    return "accepted" if schema.accepts(value) else "refused"


def _instructions(
    instructions: list[Instruction], response: str, loose: bool, asks_language: bool
) -> tuple[list[bool], bool]:
    return followed(instructions, response, loose=loose), asks_language and language_of(response) is None


if __name__ == "__main__":
    answer_questions(_answered)
