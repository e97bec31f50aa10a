"""The registry of parts of which a setting chooses one by `type`: what `larpo_lib.config.kinds` are made of.

An entry is looked up in its kind's room, a package above this one, when a setting is read. Nothing else names it.
Installed packages add entries of their own by entry points, whose group is named as the room: `larpo.objectives`.
"""

from __future__ import annotations

import builtins
import inspect
import logging
import pkgutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, Union, cast

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from larpo_lib.config.base import Section
from larpo_lib.config.packages import Registered, registered

_LOG = logging.getLogger(__name__)


class Kind(Section):
    """One of several kinds of settings, told apart by their `type`."""

    room: ClassVar[str]
    """The package whose modules hold the entries; modules with a leading underscore and packages in it hold none."""
    usual: ClassVar[str]
    """The type that a section has where it chooses none."""
    implied: ClassVar[str | None] = None
    """The type of a table that names none; None: it must name one."""
    packages: ClassVar[tuple[str, ...]] = ()
    """What an entry cannot do without, by the names that pip knows them by."""
    does: ClassVar[str] = ""
    """What an entry does, in a few words, for tables in the documents."""
    when: ClassVar[str] = ""
    """When to take it, for the same tables."""

    if TYPE_CHECKING:
        type: str
        """An entry says its own, as `type: Literal["name"] = "name"`."""

    @classmethod
    def entries(cls) -> dict[str, builtins.type[Self]]:
        """The settings classes of this kind by their type, the usual one first, the others in their modules' order."""
        return cast(dict[str, builtins.type[Self]], _entries(cls))

    @classmethod
    def of_packages(cls) -> tuple[Registered, ...]:
        """What installed packages register as entries of this kind's room, with what is wrong with it."""
        return _of_packages(_top(cls))

    def identity(self) -> dict[str, Any]:
        """With the package that an entry comes from, and its version."""
        package = next((one.package for one in self.of_packages() if one.value is type(self)), None)
        return super().identity() | ({} if package is None else {"package": package})

    @classmethod
    def is_kind(cls) -> bool:
        """Whether this is a kind, and no entry of one."""
        return "room" in vars(cls) or cls.__name__ == "Kind"

    @classmethod
    def alternatives(cls) -> list[builtins.type[Section]]:
        """Of a kind: its entries."""
        return list(cls.entries().values()) if cls.is_kind() else [cls]

    @classmethod
    def default(cls) -> Self:
        """The usual entry with its defaults."""
        return cls.entries()[cls.usual].model_validate({})

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Of a kind: look its entries up when a value is there, and let its `type` choose among them."""
        if not cls.is_kind():
            return handler(source)
        return core_schema.no_info_plain_validator_function(cls._chosen)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Of a kind: that of its entries."""
        return handler(_union(cls).core_schema if cls.is_kind() else schema)

    @classmethod
    def _chosen(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if cls.implied is not None and isinstance(value, dict):
            value = {"type": cls.implied, **value}
        _check_usable(cls, value)
        return _union(cls).validate_python(value)


KindT = TypeVar("KindT", bound=Kind)


@cache
def _entries(kind: type[Kind]) -> dict[str, type[Kind]]:
    found: dict[str, type[Kind]] = {}
    for module in _modules(kind.room):
        for entry in _stated(module, kind):
            name = entry.model_fields["type"].default
            assert name not in found, f"{entry} and {found.get(name)} are both of type {name}"
            found[name] = entry
    found |= {
        one.name: one.value for one in _of_packages(_top(kind)) if not one.problem and issubclass(one.value, kind)
    }
    return dict(sorted(found.items(), key=lambda each: each[0] != kind.usual))


def _modules(room: str) -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(import_module(room).__path__):
        if not module.ispkg and not module.name.startswith("_"):
            yield import_module(f"{room}.{module.name}")


def _stated(module: ModuleType, kind: type[KindT]) -> Iterator[type[KindT]]:
    """The settings classes of a module: as such, or as `settings` of what they belong to."""
    for value in vars(module).values():
        entry = inspect.getattr_static(value, "settings", value)
        if isinstance(entry, type) and issubclass(entry, kind) and entry.__module__ == module.__name__:
            yield entry


def _top(kind: type[Kind]) -> type[Kind]:
    """The kind that has all entries of a room: of rerankers also those that no ensemble may hold."""
    return [base for base in kind.__mro__ if issubclass(base, Kind) and getattr(base, "room", None) == kind.room][-1]


@cache
def _of_packages(top: type[Kind]) -> tuple[Registered, ...]:
    """What packages register for a room, each as its settings class. Says once what cannot be used."""
    group = f"larpo.{top.room.rpartition('.')[2]}"
    if not registered(group):
        return ()
    own = {entry.model_fields["type"].default for module in _modules(top.room) for entry in _stated(module, top)}
    times = Counter(one.name for one in registered(group))
    found = tuple(_checked(one, top, own, times[one.name]) for one in registered(group))
    for one in found:
        if one.problem:
            _LOG.warning("%s registers '%s' in %s, which %s", one.package, one.name, group, one.problem)
    return found


def _checked(one: Registered, top: type[Kind], own: set[str], times: int) -> Registered:
    if one.problem:
        return one
    entry = inspect.getattr_static(one.value, "settings", one.value)
    if not (isinstance(entry, type) and issubclass(entry, top)):
        return replace(one, problem=f"is no {top.__name__}")
    if "type" not in entry.model_fields or entry.model_fields["type"].default != one.name:
        return replace(one, problem="does not have its name as the default of `type`")
    if one.name in own:
        return replace(one, problem="larpo has itself")
    try:
        entry.model_rebuild()
    except Exception as error:  # as of annotations that name nothing; the entries beside it must not fail with it
        return replace(one, problem=f"has settings that cannot be read ({' '.join(str(error).split()):.200})")
    return replace(one, value=entry, problem="another package registers too" if times > 1 else "")


def _check_usable(kind: type[Kind], value: Any) -> None:
    """Refuse an entry that a package registers, but that cannot be used, by the name of the package."""
    chosen = value.get("type") if isinstance(value, dict) else None
    for one in _of_packages(_top(kind)):
        if one.problem and one.name == chosen and chosen not in _entries(kind):
            raise ValueError(f"{one.package} registers '{one.name}', which {one.problem}")


@cache
def _union(kind: type[Kind]) -> TypeAdapter[Any]:
    members = tuple(_entries(kind).values())
    if len(members) == 1:
        return TypeAdapter(members[0])
    chosen: Any = Annotated[Union[members], Field(discriminator="type")]  # noqa: UP007 - the members are a value
    return TypeAdapter(chosen)


def forget_entries() -> None:
    """Look all rooms up again: one has got a module, or a package was installed."""
    registered.cache_clear()
    _of_packages.cache_clear()
    _entries.cache_clear()
    _union.cache_clear()
