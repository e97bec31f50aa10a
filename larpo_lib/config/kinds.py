"""Kinds of parts of which a setting chooses one by `type`: samplers, rerankers, judges, objectives and others.

A kind is a class here, and the annotation of the settings that choose. Its entries are subclasses in the kind's room, a
package above this one: a module there holds an entry's settings, what it needs, and how it is made. Nothing else names
it: the room's modules are looked up when a setting is read. They load no torch; heavy libraries are imported where an
entry is made.
"""

from __future__ import annotations

import builtins
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, cast

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from larpo_lib.config.base import ModelConfig, Section


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


@cache
def _union(kind: type[Kind]) -> TypeAdapter[Any]:
    members = tuple(_entries(kind).values())
    if len(members) == 1:
        return TypeAdapter(members[0])
    chosen: Any = Annotated[Union[members], Field(discriminator="type")]  # noqa: UP007 - the members are a value
    return TypeAdapter(chosen)


def forget_entries() -> None:
    """Look all rooms up again: one has got a module."""
    _entries.cache_clear()
    _union.cache_clear()


class SamplerConfig(Kind):
    """What draws responses from a policy."""

    room: ClassVar[str] = "larpo_lib.samplers"
    usual: ClassVar[str] = "hf"
    implied: ClassVar[str | None] = "hf"
    serves_one_policy: ClassVar[bool] = False
    """It has a policy of its own loaded: what trains or compares policies cannot use it."""

    if TYPE_CHECKING:
        model: ModelConfig
        """How the policy's tokenizer, and the policy where it runs here, are loaded; every sampler has this field."""

    def make(self, policy: Path, limits: Any) -> Any:
        """The `larpo_lib.samplers.Sampler` of a policy's directory and of a step's `Limits`."""
        raise NotImplementedError

    def check(self, policy: Path, limits: Any) -> None:
        """Check, before anything expensive, what can be known of `make`'s packages, models and servers.

        Raises:
            LarpoError: it would fail.
        """


Thinking = Annotated[
    Literal["strip", "keep"],
    Field(
        description="What is read of a response that begins with thoughts. `strip`: the reply behind `</think>`, as"
        " chat templates write a history; nothing where the thoughts are unfinished, which is counted. `keep`: all of"
        " it, with the `<think>` that a template opened in the prompt put back."
    ),
]

Reading = Literal["numbers", "expressions"]
"""What a prompt's reference must hold."""


class RerankerConfig(Kind):
    """What scores responses."""

    room: ClassVar[str] = "larpo_lib.rewards.rerankers"
    usual: ClassVar[str] = "verifier"

    @property
    def list_relative(self) -> bool:
        """Whether a score holds only within the list it was given in."""
        return False

    @property
    def thoughts(self) -> Thinking | None:
        """What `make`'s reranker is given of a response's thoughts; None: it sees to that itself."""
        return "strip"

    @property
    def references(self) -> frozenset[Reading]:
        """What references must hold; empty: none is read."""
        return frozenset()

    @property
    def beyond_one(self) -> str | None:
        """Why a score may be below 0 or above 1; None: it cannot, or it is not known."""
        return f"the scores of '{self.type}' have no bounds"

    def models(self) -> dict[str, Path]:
        """The directories of models, by names for a step's inputs: their content decides scores."""
        return {}

    def make(self) -> Any:
        """The `larpo_lib.rewards.rerankers.Reranker`."""
        raise NotImplementedError

    def check(self) -> None:
        """Check, before anything expensive, what can be known of `make`'s packages, models and servers.

        Raises:
            LarpoError: it would fail.
        """


class SingleRerankerConfig(RerankerConfig):
    """What scores responses by itself, so that an ensemble may hold it."""

    room: ClassVar[str] = RerankerConfig.room


class ChatRerankerConfig(SingleRerankerConfig):
    """What reads a conversation here, maybe through a chat template, which may refuse or leave out a part of it."""

    room: ClassVar[str] = RerankerConfig.room
    implied: ClassVar[str | None] = "classifier"

    if TYPE_CHECKING:
        path: str
        model: ModelConfig

    def reading(self) -> Callable[[Any, str], Sequence[str]]:
        """From the messages of a prompt and a response to the texts that the model reads.

        Raises:
            ModelError: the directory is no such model.
        """
        raise NotImplementedError


class JudgeConfig(Kind):
    """What says whether responses are right."""

    room: ClassVar[str] = "larpo_lib.rewards.judges"
    usual: ClassVar[str] = "verifier"
    implied: ClassVar[str | None] = "verifier"

    @property
    def references(self) -> frozenset[Reading]:
        """What references must hold; empty: none is read."""
        return frozenset()

    def make(self) -> Any:
        """The `larpo_lib.rewards.judges.Judge`."""
        raise NotImplementedError


class SelectionConfig(Kind):
    """Which of a prompt's ranked responses make up its list."""

    room: ClassVar[str] = "larpo_lib.candidates.selections"
    usual: ClassVar[str] = "top_bottom"

    def select(self, ordered: Any) -> Any:
        """The selected candidates, best first, none of them twice.

        Args:
            ordered: the distinct candidates of one prompt, best first, at least one.

        Returns:
            Some of them; a list too short for it gives what there is.
        """
        raise NotImplementedError

    @property
    def in_words(self) -> str:
        """What tables of studies call it."""
        return self.type.replace("_", " ")

    def most(self, k: int) -> int:
        """How many of `k` distinct responses it takes at most."""
        return k


class RetrieverConfig(Kind):
    """What finds related prompts, and documents."""

    room: ClassVar[str] = "larpo_lib.retrievers"
    usual: ClassVar[str] = "bm25"

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.type

    def models(self) -> dict[str, Path]:
        """The directories of models, by names for a step's inputs: their content decides what is found."""
        return {}

    def make(self) -> Any:
        """The `larpo_lib.retrievers.Retriever`."""
        raise NotImplementedError

    def check(self) -> None:
        """Check, without loading it, what can be known of `make`'s packages and models.

        Raises:
            LarpoError: it would fail.
        """


class ObjectiveConfig(Kind):
    """What training minimises."""

    room: ClassVar[str] = "larpo_lib.objectives"
    usual: ClassVar[str] = "listmle"
    needs_reference: ClassVar[bool] = True
    """Whether the loss reads `reference_logps`."""
    needs_kl: ClassVar[bool] = False
    """Whether the loss reads `kl_baseline`."""
    exponential_gains: ClassVar[bool] = False
    """Whether the loss raises 2 to the rewards, which must be from 0 to 1 where its setting `rewards` is raw."""

    @property
    def needs_unit_rewards(self) -> bool:
        """Whether rewards must be from 0 to 1."""
        return self.exponential_gains and getattr(self, "rewards", "raw") == "raw"

    def loss(self, batch: Any) -> Any:
        """The loss of each list: a `larpo_lib.objectives.ListBatch` of B lists to a (B,) tensor, float32 or float64."""
        raise NotImplementedError


KINDS: tuple[type[Kind], ...] = (
    SamplerConfig,
    RerankerConfig,
    JudgeConfig,
    SelectionConfig,
    RetrieverConfig,
    ObjectiveConfig,
)
"""All there are."""
