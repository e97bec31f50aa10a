"""What makes a function an objective."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, get_type_hints

from pydantic import create_model, model_validator

from larpo_lib.config.kinds import ObjectiveConfig

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch

P = ParamSpec("P")


@dataclass(frozen=True)
class Objective(Generic[P]):
    """A loss, to be called as the function it is, and its settings.

    Attributes:
        function: from a ListBatch of B lists to a (B,) loss per list, float32 or float64.
        settings: a class whose fields are the function's keyword arguments.
    """

    function: Callable[Concatenate[ListBatch, P], Tensor]
    settings: type[ObjectiveConfig]

    def __call__(self, batch: ListBatch, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """The loss of each list, (B,)."""
        return self.function(batch, *args, **kwargs)


def settings_of(function: Callable[..., Tensor]) -> type[ObjectiveConfig]:
    """The settings of an objective, or of a plain function: as of one with nothing declared."""
    return function.settings if isinstance(function, Objective) else objective()(function).settings


def objective(
    *,
    does: str = "",
    when: str = "",
    needs_reference: bool = True,
    needs_kl: bool = False,
    exponential_gains: bool = False,
    younger: tuple[str, ...] = (),
) -> Callable[[Callable[Concatenate[ListBatch, P], Tensor]], Objective[P]]:
    """Make a function an objective of its own name.

    Its arguments after the batch become settings, with their types, limits, defaults and descriptions; its docstring's
    first line says in the reference what it is. The arguments are facts of `ObjectiveConfig`.
    """
    facts = {
        "does": does,
        "when": when,
        "needs_reference": needs_reference,
        "needs_kl": needs_kl,
        "exponential_gains": exponential_gains,
        "younger": younger,
    }

    def decorate(function: Callable[Concatenate[ListBatch, P], Tensor]) -> Objective[P]:
        return Objective(function, _settings(function, facts))

    return decorate


class _Declared(ObjectiveConfig):
    """Settings of an objective. One of this package without `rewards` uses only their order, which all scales keep."""

    @model_validator(mode="before")
    @classmethod
    def _check_scale(cls, values: Any) -> Any:
        ours = cls.__module__.startswith(f"{cls.room}.")
        if not ours or not isinstance(values, dict) or "rewards" not in values:
            return values
        name = cls.model_fields["type"].default
        if "rewards" not in cls.model_fields:
            raise ValueError(f"{name} uses only the order of the rewards, which no scale changes; remove rewards")
        if values["rewards"] == "zscore" and cls.exponential_gains:
            raise ValueError(
                f"{name} uses 2^reward and needs rewards from 0 to 1, but z-scores are around 0; set rewards to minmax"
                " or rank"
            )
        return values


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _settings(function: Callable[..., Tensor], facts: dict[str, Any]) -> type[ObjectiveConfig]:
    name = function.__name__
    _, *arguments = [each for each in inspect.signature(function).parameters.values() if each.kind in _BY_NAME]
    for each in arguments:
        if each.name == "type" or hasattr(ObjectiveConfig, each.name):
            raise TypeError(f"'{each.name}' is a name that all settings have; choose another one")
    stated = {each.name: Any if each.annotation is each.empty else each.annotation for each in arguments}
    types = get_type_hints(SimpleNamespace(__annotations__=stated), function.__globals__, include_extras=True)
    fields: dict[str, Any] = {"type": (Literal[name], name)}
    fields |= {each.name: (types[each.name], ... if each.default is each.empty else each.default) for each in arguments}

    class Base(_Declared):
        def loss(self, batch: ListBatch) -> Tensor:
            return function(batch, **{each.name: getattr(self, each.name) for each in arguments})

    made = create_model(
        "".join(part.title() for part in name.split("_")) + "Config",
        __base__=Base,
        __module__=function.__module__,
        __doc__=(inspect.getdoc(function) or "").partition("\n")[0],
        **fields,
    )
    for fact, value in facts.items():
        setattr(made, fact, value)
    return made
