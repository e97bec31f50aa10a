"""Settings that change from an iteration on."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field, JsonValue, model_validator

from larpo_lib.config.base import Section

_FIXED = {
    "seed": "all random choices of a run come from its seeds, and each iteration's are different anyway",
    "policy": "each iteration begins with the policy of the one before",
    "model": "models are loaded alike in all iterations",
    "sampler": "policies are loaded alike in all iterations",
    "retriever": "models are looked up before the run begins",
    "path": "models are looked up before the run begins",
    "target": "functions are looked up before the run begins; what they are called with may change",
    "code": "functions are looked up before the run begins; what they are called with may change",
    "launch": "machines are chosen before the run begins",
    "prompts_per_iteration": "each iteration takes the prompts that come after those of the one before, so another "
    "number would leave some out or take some again",
    "rerank": "lists may contain responses of several iterations, whose rewards must be comparable",
    "evaluate": "policies are only comparable if they are evaluated in the same way",
}
"""Settings, and tables of settings, that are the same in all iterations, and why."""

_OF_A_FUNCTION = "settings"
"""The table of what a user's function is called with, whose names are not larpo's."""

Table = dict[str, JsonValue]


class ChangeConfig(Section):
    """Settings that have other values from one iteration on: of the sampling, the lists and the training."""

    sections: ClassVar[tuple[str, ...]] = ("sample", "lists", "train")

    iteration: int = Field(ge=2)
    """The first iteration that has them; later ones have them too, until another change."""
    sample: Table | None = None
    """Settings of `sample` that change, such as `k`."""
    lists: Table | None = None
    """Settings of `lists` that change, such as `selection`."""
    train: Table | None = None
    """Settings of `train` that change, such as `objective.top`."""

    @model_validator(mode="before")
    @classmethod
    def _check(cls, values: Any) -> Any:
        for place, value in _places(values):
            name = place.rpartition(".")[2]
            if name in _FIXED:
                raise ValueError(f"{place} cannot change during a run: {_FIXED[name]}. Remove it from the change")
            if value is None and name not in cls.sections:
                raise ValueError(f"{place} is null, which TOML does not have; leave it out")
        return values

    @property
    def settings(self) -> dict[str, Table]:
        """What changes, by section."""
        stated = {name: getattr(self, name) for name in self.sections}
        return {name: table for name, table in stated.items() if table is not None}


def stated_changes(tree: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What settings that nobody has checked say of changes."""
    loop = tree.get("loop")
    changes = loop.get("changes") if isinstance(loop, dict) else None
    return [change for change in changes if isinstance(change, dict)] if isinstance(changes, list) else []


def _places(table: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting in some tables, and each table, by its name with dots."""
    for name, value in table.items() if isinstance(table, Mapping) else ():
        yield f"{place}{name}", value
        if name != _OF_A_FUNCTION:
            yield from _places(value, f"{place}{name}.")
