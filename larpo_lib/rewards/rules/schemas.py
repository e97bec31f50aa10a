"""JSON in responses, and whether a JSON Schema accepts it."""

import re
from functools import lru_cache
from typing import Any

from larpo_lib import parsing
from larpo_lib.rewards.rules.fences import blocks

_BEHIND_TEXT = re.compile(r"(?<=[^\s`])[ \t]*+(`{3,}[\w-]*+)[ \t]*$", re.ASCII | re.MULTILINE)
"""A fence that ends a line. No string of JSON reaches over the end of a line, so it stands in none."""


class Schema:
    """A JSON Schema, of the draft that its `$schema` names, else of 2020-12.

    Args:
        schema: as JSON text.

    Raises:
        ValueError: it is no schema, or refers to something that it does not hold. Nothing is fetched; only the drafts'
            own schemas are known.
    """

    def __init__(self, schema: str) -> None:
        from jsonschema import SchemaError
        from jsonschema.validators import Draft202012Validator, validator_for
        from jsonschema_specifications import REGISTRY
        from referencing import Resource
        from referencing.jsonschema import DRAFT202012

        try:
            read = parse_json(schema)
        except ValueError as error:
            raise ValueError(f"is no JSON: {error}") from None
        kind = validator_for(read, default=Draft202012Validator)
        try:
            kind.check_schema(read)
        except SchemaError as error:
            raise ValueError(f"is no JSON Schema: {error.message}") from None
        whole = Resource.from_contents(read, default_specification=DRAFT202012)
        _check_references(whole, REGISTRY.resolver_with_root(whole))
        self._validator = kind(read, registry=REGISTRY)

    def accepts(self, value: Any) -> bool:
        """Whether a value fits; one that is nested too deeply to tell does not."""
        try:
            return bool(self._validator.is_valid(value))
        except RecursionError:
            return False


def _check_references(part: Any, resolver: Any) -> None:
    """Follow every reference of a schema's parts once, before anything is scored."""
    from referencing.exceptions import Unresolvable

    reference = part.contents.get("$ref") if isinstance(part.contents, dict) else None
    if isinstance(reference, str):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise ValueError(f"refers to {reference!r}, which it does not hold") from None
    for below in part.subresources():
        _check_references(below, resolver.in_subresource(below))


@lru_cache(maxsize=1024)
def read_schema(schema: str) -> Schema:
    """The schema that a text holds; raises ValueError as `Schema`."""
    return Schema(schema)


def parse_json(text: str) -> Any:
    """The value of strict JSON.

    Raises:
        ValueError: it is none; NaN and Infinity are not.
    """
    return parsing.parse_json(text, parse_constant=_refuse)


def without_fences(text: str) -> str:
    """The block in code fences of a text that has exactly one of them; else the text itself.

    Fences may stand behind other text, as in `Here it is: ```json`, if nothing follows on their line.
    """
    found = blocks(_BEHIND_TEXT.sub(r"\n\1", text))
    return found[0].content if len(found) == 1 else text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
