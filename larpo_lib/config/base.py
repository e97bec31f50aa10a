"""What every section of the configuration shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from larpo_lib.config.inheritance import Inherited

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]


def _day(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            raise ValueError("Input should be a day, such as 2024-07-26") from None
    return value.isoformat() if type(value) is date else value  # as TOML has it


@dataclass(frozen=True)
class NamesModel:
    """Marks a setting that says where a model is."""


ModelPlace = Annotated[str, NamesModel()]
"""Where a model is: a directory, an s3:// URI, or a name on the Hugging Face hub, `org/name` or `org/name@revision`."""

_SHARED = ("part_prompts", "processes", "resamples", "confidence", "seed")
"""Settings of `larpo_lib.config.mixins` that stand behind a section's own."""

Day = Annotated[str, BeforeValidator(_day)]
"""A day as `2024-07-26`."""


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    execution: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how the work is done and, but for rounding, change nothing in what comes out. A class names its
    own, and has those of the classes that it extends besides."""
    settled: ClassVar[frozenset[str]] = frozenset()
    """Settings of `execution` that stand in the identity, with their default whatever they are: there they stood
    before, and what was made then is found again."""
    first: ClassVar[tuple[str, ...]] = ()
    """Settings that stand before those of the classes that it extends."""
    younger: ClassVar[tuple[str, ...]] = ()
    """Settings that have no part in the identity while they have their default: what was made before there were these
    is found again."""
    last: ClassVar[tuple[str, ...]] = ()
    """Settings that stand even behind those of `_SHARED`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Join `execution`, and put the settings in order, before pydantic builds anything of them (`defer_build`)."""
        cls.execution = frozenset().union(*(vars(base).get("execution", ()) for base in cls.__mro__))
        fields = dict(cls.model_fields)
        cls.model_fields.clear()
        cls.model_fields.update((name, fields[name]) for name in sorted(fields, key=cls._place))

    @classmethod
    def _place(cls, name: str) -> int:
        if name in cls.first:
            return cls.first.index(name) - len(cls.first)
        behind = (*_SHARED, *cls.last)
        return behind.index(name) + 1 if name in behind else 0

    @classmethod
    def alternatives(cls) -> list[type[Section]]:
        """What may stand where this class is the annotation: itself."""
        return [cls]

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result; the others may change before a stopped run goes on."""
        fields = type(self).model_fields
        unset = {name for name in self.younger if getattr(self, name) == fields[name].default}
        left_out = (self.execution - self.settled) | unset
        return {
            name: _identity(fields[name].default if name in self.settled else getattr(self, name))
            for name in fields
            if name not in left_out
        }


SectionT = TypeVar("SectionT", bound=Section)


def do_the_same(first: Section, second: Section) -> bool:
    """Whether two parts have the same settings, but for those that only say how the work is done."""
    return type(first) is type(second) and _deciding(first) == _deciding(second)


def _deciding(value: Any) -> Any:
    """The settings with the places of functions and servers, which an identity leaves out."""
    if isinstance(value, Section):
        names = [name for name in type(value).model_fields if name not in value.execution - {"base_url"}]
        return {name: _deciding(getattr(value, name)) for name in names}
    return [_deciding(part) for part in value] if isinstance(value, tuple) else value


def with_models(section: SectionT, change: Callable[[str], str]) -> SectionT:
    """The settings with every model's place changed, those in the tables below too."""
    changes = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        names_model = value is not None and any(isinstance(each, NamesModel) for each in field.metadata)
        changed = change(value) if names_model else _with_models(value, change)
        if changed is not value:
            changes[name] = changed
    return section.model_copy(update=changes) if changes else section


def _with_models(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, Section):
        return with_models(value, change)
    if not isinstance(value, tuple):
        return value
    changed = tuple(_with_models(part, change) for part in value)
    return changed if any(new is not old for new, old in zip(changed, value, strict=True)) else value


def _identity(value: Any) -> Any:
    if isinstance(value, Section):
        return value.identity()
    return [_identity(part) for part in value] if isinstance(value, tuple) else value


class ModelConfig(Section):
    """How a Hugging Face model directory is loaded."""

    younger: ClassVar[tuple[str, ...]] = ("chat_template", "date", "stop_tokens", "special_text")

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 on a GPU that supports it, else float32."""
    device: str = "auto"
    """`auto`: the first GPU if there is one, else the CPU."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = "auto"
    """`auto`: eager for families without sdpa or with a cap on attention scores (Gemma 2), else sdpa."""
    pad_token: str | None = None
    """Padding token, which must be in the vocabulary. Not set: the tokenizer's own; a policy whose tokenizer has none
    uses its eos token, which is masked out. A reward model needs the padding token that it was trained with."""
    chat_template: str | None = None
    """Jinja template that replaces the tokenizer's chat template, for example for a base model without one; or the name
    of a template, if the tokenizer has several."""
    date: Annotated[Day, Inherited("model.date", creates=False)] = "2024-07-26"
    """The date that a chat template gets when it asks for today's (`strftime_now`), so that prompts do not change from
    day to day or between models of a run. The default is the date that Llama 3's template uses by default."""
    stop_tokens: tuple[str, ...] = ()
    """Additional tokens that end a response. The eos tokens of the model's generation settings and of the tokenizer,
    and the chat template's end-of-turn token, always do."""
    special_text: Literal["text", "control"] = "text"
    """How the name of a special token in a prompt or a response is read, such as `<|im_end|>` in a question about chat
    templates. `text`: as ordinary characters. `control`: as the special token, as most other programs do."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Use it only for models whose code you have read."""
