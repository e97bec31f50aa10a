"""Writes `configuration.md` from the configuration classes: `python docs/generate_configuration.py`.

A setting's meaning is the text below its field, else what the section that it holds says of itself. A setting without
any is an error.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from larpo_lib.config import LarpoConfig, Section
from larpo_lib.config.inheritance import Inherited, sections_of

HEAD = """# Configuration

Written by `python docs/generate_configuration.py`; a test fails where it is out of date. Do not edit it by hand.

A configuration is one TOML file. `--set section.name=value` (or `-s`) lays a setting over the file; the last one wins.
A value is read as TOML, and as plain text where it is not TOML. A table that names another `type` replaces the table
below it whole. Unknown settings are refused. A section can be left out where it has no required setting.

What a section takes over from another one, where it does not say otherwise, stands with the setting.

"not set" as a default means that the setting is left out; TOML has no null.
"""


def document() -> str:
    """The whole page."""
    places: dict[type[BaseModel], list[str]] = {}
    _visit(LarpoConfig, "", places)
    places = {kind: sorted(paths, key=lambda path: path.count(".")) for kind, paths in places.items()}
    links = {kind.__name__: _link(kind, paths) for kind, paths in places.items()}
    return "\n".join([HEAD, *(_section(kind, paths, links) for kind, paths in places.items())])


def _visit(kind: type[BaseModel], path: str, places: dict[type[BaseModel], list[str]]) -> None:
    found = places.setdefault(kind, [])
    if path not in found:  # members of a union stand at one place
        found.append(path)
    for name, field in kind.model_fields.items():
        for part in sections_of(field.annotation):
            _visit(part, f"{path}.{name}" if path else name, places)


def _section(kind: type[BaseModel], paths: list[str], links: dict[str, str]) -> str:
    schema = kind.model_json_schema()
    lines = [f"## {_heading(kind, paths)}", ""]
    if len(paths) > 1:
        lines += [f"Also {', '.join(f'`{path}`' for path in paths[1:])}.", ""]
    if kind.__doc__:
        lines += [inspect.cleandoc(kind.__doc__), ""]
    lines += ["| setting | value | default | meaning |", "|---|---|---|---|"]
    written = _written_meanings(kind)
    for name, field in kind.model_fields.items():
        cells = (
            f"`{name}`",
            _value(schema["properties"][name], links),
            _default(field),
            " ".join([written.get(name) or _meaning(kind, name), *_taken_over(field)]),
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])


def _heading(kind: type[BaseModel], paths: list[str]) -> str:
    if not paths[0]:
        return "Top of the file"
    tag = kind.model_fields.get("type")
    return f"`{paths[0]}`" + (f" of type `{tag.default}`" if tag else "")


def _link(kind: type[BaseModel], paths: list[str]) -> str:
    tag = kind.model_fields.get("type")
    text = f"`{tag.default}`" if tag else "table"
    return f"[{text}](#{_slug(_heading(kind, paths))})"


def _slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _value(schema: dict[str, Any], links: dict[str, str]) -> str:
    """What a setting may be, in words, from its JSON schema."""
    for union in ("anyOf", "oneOf"):
        if union in schema:
            parts = [_value(part, links) for part in schema[union] if part.get("type") != "null"]
            return " or ".join(parts)
    section = schema.get("$ref", schema.get("title", "")).rsplit("/", 1)[-1]  # the one entry of a kind has no $ref
    if section in links:
        return links[section]
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_value(schema['items'], links)}"
    word = {"string": "text", "boolean": "`true`, `false`", "object": "table"}.get(schema["type"], schema["type"])
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    limits = [f"{sign} {schema[bound]:g}" for bound, sign in bounds if bound in schema and schema[bound] < 2**31]
    return " ".join([word, ", ".join(limits)]).strip()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "not set"
    if isinstance(value, Section):
        tag = getattr(value, "type", None)
        return f'`{{ type = "{tag}" }}`' if tag else "its defaults"
    if isinstance(value, tuple) and value and all(isinstance(part, Section) for part in value):
        return "`[" + ", ".join(f'{{ type = "{part.type}" }}' for part in value) + "]`"
    return f"`{json.dumps(value)}`"


def _written_meanings(kind: type[BaseModel]) -> dict[str, str]:
    """The texts below a class's fields, those it inherits included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, Section):
            continue
        try:
            source = inspect.getsource(base)
        except OSError:  # an objective's: made of its function's arguments, which have descriptions
            continue
        body = ast.parse(textwrap.dedent(source)).body[0].body  # type: ignore[attr-defined]
        for field, below in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(below):
                found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    stated = {name: field.description for name, field in kind.model_fields.items() if field.description}
    return {"type": "Which kind this is.", **found, **stated}


def _meaning(kind: type[BaseModel], name: str) -> str:
    """What the section that a setting holds says of itself."""
    texts = [part.__doc__ for part in sections_of(kind.model_fields[name].annotation)]
    if len(texts) != 1 or texts[0] is None:
        raise ValueError(f"{kind.__name__}.{name} has no meaning: write one below the field")
    return inspect.cleandoc(texts[0]).splitlines()[0]


def _taken_over(field: FieldInfo) -> Iterator[str]:
    """What a setting takes over from another one; where the value is worked out, the text below the field says it."""
    for rule in field.metadata:
        if isinstance(rule, Inherited) and isinstance(rule.source, str):
            if rule.merge:
                yield f"What it leaves out is taken over from `{rule.source}`."
            else:
                yield f"{f'Its `{rule.into}` is taken' if rule.into else 'Taken'} over from `{rule.source}` if not set."


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    (Path(__file__).parent / "configuration.md").write_text(document(), "utf-8")
