"""Settings of every kind there is, found in the configuration classes: a new kind is covered by itself."""

import itertools
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from larpo_lib.config import Section

_ONE_OF_SEVERAL: dict[str, dict[str, Any]] = {
    "json_schema": {"accepted": {}},
    "language": {"language": "de"},
    "length": {"longest": 3},
    "regex": {"pattern": "a"},
}
"""What kinds state of which one of several settings must be stated, none of them required."""
_TEXTS = {"base_url": "http://server:8000", "target": "my_rewards.py:brevity"}


def every(union: Any) -> list[Any]:
    """An example of every kind in a union, with and without the texts that may be left out."""
    examples = [TypeAdapter(union).validate_python(tree) for tree in _variants(union, "")]
    return examples + [named for one in examples if (named := _named(one)) != one]


def _named(example: Section) -> Section:
    """The same with a text for each setting that may have one."""
    texts = {name: "some-name" for name, field in type(example).model_fields.items() if field.annotation == str | None}
    return example.model_copy(update=texts)


def _variants(annotation: Any, name: str) -> list[Any]:
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return _variants(inner[0], name)
    if kind in (Union, UnionType):
        return [variant for member in inner for variant in _variants(member, name)]
    if kind is Literal:
        return list(inner)
    if kind is tuple:
        return [_variants(inner[0], name) * 2]
    if annotation is str:
        return [_TEXTS.get(name, "some-text")]
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [variant for section in annotation.alternatives() for variant in _of_section(section)]
    raise NotImplementedError(f"an example of {annotation} for '{name}'")


def _of_section(section: type[BaseModel]) -> list[Any]:
    fields = {name: _of_field(name, field) for name, field in section.model_fields.items()}
    stated = {name: found for name, found in fields.items() if found}
    variants = [dict(zip(stated, values, strict=True)) for values in itertools.product(*stated.values())]
    return [{**variant, **_ONE_OF_SEVERAL.get(variant.get("type", ""), {})} for variant in variants]


def _of_field(name: str, field: FieldInfo) -> list[Any]:
    if name == "type":
        return list(get_args(field.annotation))
    return _variants(field.annotation, name) if field.is_required() else []
