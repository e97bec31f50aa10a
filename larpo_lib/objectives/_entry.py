"""What makes a function an objective."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, Literal, ParamSpec, get_type_hints

from pydantic import SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from larpo_lib.config.kinds import SingleObjectiveConfig
from larpo_lib.objectives._options import OPTIONS, as_read, refusal, with_options
from larpo_lib.objectives.chunks import in_chunks
from larpo_lib.objectives.masked import log_ratios

if TYPE_CHECKING:
    from torch import Tensor

    from larpo_lib.objectives.batch import ListBatch

P = ParamSpec("P")


@dataclass(frozen=True)
class Objective(Generic[P]):
    """A loss, to be called as the function it is, and its settings.

    Attributes:
        function: from a ListBatch of B lists to a (B,) loss per list, float32 or float64.
        settings: a class whose fields are the function's keyword arguments, and the options that mean something for it.
    """

    function: Callable[Concatenate[ListBatch, P], Tensor]
    settings: type[DeclaredConfig]

    def __call__(self, batch: ListBatch, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """The loss of each list, (B,)."""
        return in_chunks(lambda lists: self.function(lists, *args, **kwargs), batch)


def settings_of(function: Callable[..., Tensor]) -> type[DeclaredConfig]:
    """The settings of an objective, or of a plain function: as of one with nothing declared."""
    return function.settings if isinstance(function, Objective) else objective()(function).settings


def objective(
    *,
    does: str = "",
    when: str = "",
    needs_reference: bool = True,
    needs_kl: bool = False,
    exponential_gains: bool = False,
    logistic: tuple[str, ...] = ("beta",),
    per_token: bool = False,
    younger: tuple[str, ...] = (),
    always_written: tuple[str, ...] = (),
    refuses: Mapping[str, str] | None = None,
    rho_needs: Mapping[str, Any] | None = None,
) -> Callable[[Callable[Concatenate[ListBatch, P], Tensor]], Objective[P]]:
    """Make a function an objective of its own name.

    Its arguments after the batch become settings, with their types, limits, defaults and descriptions; its docstring's
    first line says in the reference what it is. So do the options that every objective has, but those that it
    `refuses`, each for a reason, and those that it has as an argument. `logistic`, `per_token`,
    `always_written` and `rho_needs` are facts of `DeclaredConfig`, the others of `ObjectiveConfig`.
    """
    facts = {
        "does": does,
        "when": when,
        "reads_reference": needs_reference,
        "needs_kl": needs_kl,
        "exponential_gains": exponential_gains,
        "logistic": logistic,
        "per_token": per_token,
        "always_written": always_written,
        "rho_needs": rho_needs or {},
    }

    def decorate(function: Callable[Concatenate[ListBatch, P], Tensor]) -> Objective[P]:
        return Objective(function, _settings(function, facts, younger, refuses or {}))

    return decorate


class DeclaredConfig(SingleObjectiveConfig):
    """Settings of an objective, and options. The latter are only written where they are used.

    One of this package without `rewards` of its own uses only their order, which all scales keep.
    """

    optional: ClassVar[tuple[str, ...]] = ()
    """The options that it has."""
    meaningless: ClassVar[Mapping[str, str]] = {}
    """Those that it has not, and why."""
    always_written: ClassVar[tuple[str, ...]] = ()
    """Those of the optional ones that it had before options were: they are written, and identify it, used or not."""
    logistic: ClassVar[tuple[str, ...]] = ()
    """The settings whose product is the factor of the log-ratios in its sigmoids or softmaxes, where it has them all;
    none: pairs cannot be saturated, as of a square, or of a loss that reads each response by itself."""
    per_token: ClassVar[bool] = False
    """Its log-probabilities are per token, without any option."""
    rho_needs: ClassVar[Mapping[str, Any]] = {}
    """Values of settings without which another order than that of rising scores can have the highest loss."""

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads `reference_logps`."""
        return self.reads_reference and "reference_free" not in self.used_options

    @property
    def used_options(self) -> dict[str, Any]:
        """The options that change something."""
        return {name: value for name in self.optional if (value := getattr(self, name)) != OPTIONS[name][1]}

    def loss(self, batch: ListBatch) -> Tensor:
        """The loss of each list, (B,)."""
        return in_chunks(partial(self.loss_around, self.loss_itself), batch)

    def loss_around(self, function: Callable[[ListBatch], Tensor], batch: ListBatch) -> Tensor:
        """As `loss`, with a function in the place of `loss_itself`."""
        used = self.used_options
        return with_options(function, batch, **self._scales(), **used) if used else function(batch)

    def exponents(self, batch: ListBatch) -> Tensor | None:
        """The (B, L) scores whose differences stand in its sigmoids or softmaxes, without margins.

        None where it has not all factors, and with the options by which clear pairs are pulled back.
        """
        known = self.logistic and all(hasattr(self, name) for name in self.logistic)
        if not known or any(getattr(self, name, 0.0) for name in ("label_smoothing", "label_noise", "rho")):
            return None
        per_token = self.per_token or "length_normalized" in self.used_options
        scores = log_ratios(as_read(batch, not self.needs_reference, per_token))
        factor: float = math.prod(getattr(self, name) for name in self.logistic)
        return factor * scores

    @abstractmethod
    def loss_itself(self, batch: ListBatch) -> Tensor:
        """The loss of each list without options."""

    def _scales(self) -> dict[str, Any]:
        """What the margin takes of an objective's own settings: the factor of its log-ratios, and its scale."""
        own = {} if "rewards" in self.optional else {"rewards": getattr(self, "rewards", "raw")}
        return {"beta": getattr(self, "beta", 1.0), **own}

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name = cls.model_fields["type"].default
        for option, why in cls.meaningless.items():
            if option in values and option != "rewards":
                raise ValueError(f"{option} means nothing for {name}: {why}. Remove {option}")
        if "rewards" in values:
            cls._check_scale(name, values)
        return values

    @classmethod
    def _check_scale(cls, name: str, values: Mapping[str, Any]) -> None:
        ours = cls.__module__.startswith(f"{cls.room}.")
        if ours and "rewards" not in cls.model_fields:
            raise ValueError(f"{name} uses only the order of the rewards, which no scale changes; remove rewards")
        if "rewards" in cls.optional and not values.get("margin"):
            raise ValueError(
                f"{name} uses only the order of the rewards, which no scale changes; remove rewards, or set a margin"
                if ours
                else "rewards is the scale of the margin, which is not set; set a margin, or remove rewards"
            )
        if ours and values["rewards"] == "zscore" and cls.exponential_gains:
            raise ValueError(
                f"{name} uses 2^reward and needs rewards from 0 to 1, but z-scores are around 0; set rewards to minmax"
                " or rank"
            )

    @model_validator(mode="after")
    def _check_together(self) -> DeclaredConfig:
        if "reference_free" in self.used_options and getattr(self, "clip_reference", False):
            raise ValueError("reference_free leaves no reference to clip; remove clip_reference")
        if "margin" in self.used_options and getattr(self, "clip_reference", False):
            raise ValueError("margin is added to the reference, which clip_reference clips with it; remove one of both")
        for name, needed in self.rho_needs.items() if "rho" in self.used_options else ():
            if getattr(self, name) != needed:
                usual = type(self).model_fields[name].default
                stated = f"without {name}" if needed == usual else f"with {name} = {needed}"
                raise ValueError(
                    "rho weighs the order with the highest loss, and that is the order of rising scores only "
                    f"{stated}; change {name}, or remove rho"
                )
        beta = self._scales()["beta"]
        if "margin" in self.used_options and not (isinstance(beta, int | float) and beta > 0):
            raise ValueError(f"margin is divided by beta, which is {beta}; set beta to a number above 0")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        unused = set(self.optional) - self.used_options.keys() - set(self.always_written)
        return {name: value for name, value in written.items() if name not in unused}


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _settings(
    function: Callable[..., Tensor], facts: dict[str, Any], younger: tuple[str, ...], refuses: Mapping[str, str]
) -> type[DeclaredConfig]:
    name = function.__name__
    _, *arguments = [each for each in inspect.signature(function).parameters.values() if each.kind in _BY_NAME]
    for each in arguments:
        if each.name == "type" or hasattr(DeclaredConfig, each.name):
            raise TypeError(f"'{each.name}' is a name that all settings have; choose another one")
    stated = {each.name: Any if each.annotation is each.empty else each.annotation for each in arguments}
    types = get_type_hints(SimpleNamespace(__annotations__=stated), function.__globals__, include_extras=True)
    fields: dict[str, Any] = {"type": (Literal[name], name)}
    fields |= {each.name: (types[each.name], ... if each.default is each.empty else each.default) for each in arguments}
    whys = {option: refusal(option, refuses, facts, fields) for option in OPTIONS if option not in fields}
    optional = tuple(option for option, why in whys.items() if why is None)
    fields |= {option: OPTIONS[option] for option in optional}

    class Base(DeclaredConfig):
        def loss_itself(self, batch: ListBatch) -> Tensor:
            return function(batch, **{each.name: getattr(self, each.name) for each in arguments})

    made = create_model(
        "".join(part.title() for part in name.split("_")) + "Config",
        __base__=Base,
        __module__=function.__module__,
        __doc__=(inspect.getdoc(function) or "").partition("\n")[0],
        **fields,
    )
    meaningless = {option: why for option, why in whys.items() if why is not None}
    new = (option for option in optional if option not in facts["always_written"])
    stated_facts = {"younger": (*younger, *new), "optional": optional, "meaningless": meaningless}
    for fact, value in {**facts, **stated_facts}.items():
        setattr(made, fact, value)
    return made
