"""What a setting takes over from another one, declared at its field and filled in by one function.

`seed: Annotated[Seed, Inherited("seed")] = 0` takes over the top's `seed` where the configuration does not state one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

UNSTATED: Final = object()
"""The value of a setting that neither the configuration nor anything above it states."""

Lookup = Callable[[str], Any]
"""The value at a place such as `sample.sampler`, with all that it takes over itself; `UNSTATED` where there is none."""


@dataclass(frozen=True)
class Inherited:
    """Declares that a setting takes over another one where the configuration does not state it."""

    source: str | Callable[[Lookup], Any]
    """The place of the other one, such as `sample.sampler`; or what works the value out."""
    into: str | None = None
    """The setting of this table that takes it over, if it is not the table whole."""
    merge: bool = False
    """Whether a table that is stated, this one or its `into`, still takes over the settings it does not state."""
    creates: bool = True
    """Whether the table that the setting stands in is made for it where the configuration has none."""

    def over(self, value: Any, lookup: Lookup) -> Any:
        """`value`, or what it takes over."""
        found = self.source(lookup) if callable(self.source) else lookup(self.source)
        if found is UNSTATED:
            return value
        if self.into is None:
            return self._joined(found, value)
        stated = {} if value is UNSTATED else value
        if not isinstance(stated, dict):
            return value
        return {**stated, self.into: self._joined(found, stated.get(self.into, UNSTATED))}

    def _joined(self, found: Any, stated: Any) -> Any:
        """What is taken over where nothing is stated; of two tables, maybe what is stated over it."""
        if stated is UNSTATED:
            return found
        both = self.merge and isinstance(found, dict) and isinstance(stated, dict)
        return {**found, **stated} if both else stated


def resolve(kind: type[BaseModel], tree: dict[str, Any]) -> dict[str, Any]:
    """`tree`, the settings of a `kind`, with what they take over: a new tree, checked no further."""
    resolved = _Resolver(kind, tree)
    filled = {name: resolved.lookup(name) for name in kind.model_fields}
    return {**tree, **{name: value for name, value in filled.items() if value is not UNSTATED}}


class _Resolver:
    """The top of a tree, entry by entry, each when it is first asked for."""

    def __init__(self, kind: type[BaseModel], tree: dict[str, Any]) -> None:
        self._fields = kind.model_fields
        self._entries = {name: tree.get(name, UNSTATED) for name in self._fields}
        self._open = set(self._fields)

    def lookup(self, place: str) -> Any:
        name, *rest = place.split(".")
        if name in self._open:
            self._open.remove(name)  # an entry that refers to itself finds what is stated there
            self._entries[name] = self._filled(self._fields[name], self._entries[name])
        value = self._entries[name]
        for part in rest:
            value = value.get(part, UNSTATED) if isinstance(value, dict) else UNSTATED
        return value

    def _filled(self, field: FieldInfo, value: Any, stands: bool = True) -> Any:
        for rule in field.metadata:
            if isinstance(rule, Inherited) and (stands or rule.creates):
                value = rule.over(value, self.lookup)
        if isinstance(value, list | tuple):
            return [self._table(section_of(field.annotation, part), part) for part in value]
        if isinstance(value, dict):
            return self._table(section_of(field.annotation, value), value)
        if value is UNSTATED or value is None:
            kind = _kind_of_default(field)
            return (kind and self._table(kind, {}, stands=False)) or value
        return value

    def _table(self, kind: type[BaseModel] | None, table: Any, stands: bool = True) -> Any:
        if kind is None or not isinstance(table, dict):
            return table
        fields = kind.model_fields.items()
        filled = {name: self._filled(field, table.get(name, UNSTATED), stands) for name, field in fields}
        return {**table, **{name: value for name, value in filled.items() if value is not UNSTATED}}


def _kind_of_default(field: FieldInfo) -> type[BaseModel] | None:
    """The kind of table that a setting is by default; None where it is none. The default is not copied for it."""
    default = field.default
    if field.default_factory is not None:
        default = field.get_default(call_default_factory=True, validated_data={})
    return type(default) if isinstance(default, BaseModel) else None


def sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The kinds of tables that a setting of this type can hold, those in lists included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from annotation.alternatives() if hasattr(annotation, "alternatives") else [annotation]
    for argument in get_args(annotation):
        yield from sections_of(argument)


def implied_type(annotation: Any) -> str | None:
    """The type of a table that names none; None where it must name one, or has none."""
    found = (getattr(part, "implied", None) for part in (annotation, *get_args(annotation)))
    return next((name for name in found if name is not None), None)


def section_of(annotation: Any, table: Any) -> type[BaseModel] | None:
    """The one that `table` is, by its `type` where there are several; None where it is none of them."""
    kinds = list(sections_of(annotation))
    if len(kinds) == 1:
        return kinds[0]
    tag = table.get("type", implied_type(annotation)) if isinstance(table, dict) else None
    return next(
        (kind for kind in kinds if "type" in kind.model_fields and kind.model_fields["type"].default == tag), None
    )
