"""What rerankers that look at each response by itself, by a rule, have in common."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import model_validator

from larpo_lib.config.kinds import RuleRerankerConfig
from larpo_lib.errors import ColumnError, LarpoError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker


@dataclass(frozen=True)
class Verdict:
    """A response's score, from 0 to 1 or None: it cannot be scored; and what it counts as, if it is out of the way."""

    score: float | None
    counted: str | None = None


ConfigT = TypeVar("ConfigT", bound=RuleRerankerConfig)


class RuleReranker(Reranker, Generic[ConfigT]):
    """Scores responses one by one, each distinct one once, and counts what was out of the way.

    Attributes:
        counts: names in the metrics of what `verdict` may count.
    """

    counts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ConfigT) -> None:
        self._config = config
        self.name = _name(config)
        self._verdicts: dict[tuple[str, str], Verdict] = {}

    @abstractmethod
    def verdict(self, item: Scorable) -> Verdict:
        """What the rule says of a response."""

    def verdicts(self, items: Sequence[Scorable]) -> list[Verdict]:
        """What the rule says of distinct responses, in their order."""
        return [self.verdict(item) for item in items]

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item.

        Raises:
            LarpoError: names a prompt whose columns cannot be used.
        """
        return [self._known(items)[_key(item)].score for item in items]

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """How many distinct responses were out of the way, by what they are counted as."""
        known = self._known(items)
        found = [known[key].counted for key in dict.fromkeys(map(_key, items))]
        return {name: found.count(name) for name in self.counts}

    def _known(self, items: Sequence[Scorable]) -> dict[tuple[str, str], Verdict]:
        """The verdicts, kept until others are asked for."""
        distinct = {_key(item): item for item in items}
        if not distinct.keys() <= self._verdicts.keys():
            self._verdicts = dict(zip(distinct, self._told(list(distinct.values())), strict=True))
        return self._verdicts

    def _told(self, items: Sequence[Scorable]) -> list[Verdict]:
        try:
            return self.verdicts(items)
        except ColumnError as error:
            raise LarpoError(f"{self.name}: {error.problem}", remedy=error.remedy) from None


class FixedOrColumnConfig(RuleRerankerConfig):
    """A rule whose value is one for all prompts, a setting, or stands in a column of each prompt's row."""

    room: ClassVar[str] = RuleRerankerConfig.room
    fixed_or_column: ClassVar[tuple[str, str]]
    """The settings that hold the value, and the name of the column."""

    @model_validator(mode="after")
    def _check_that_one_is_set(self) -> Self:
        fixed, column = self.fixed_or_column
        if (getattr(self, fixed) is None) == (getattr(self, column) is None):
            raise ValueError(f"set either {fixed} or {column}")
        return self

    @property
    def columns(self) -> frozenset[str]:
        """The column, if each prompt has its own value."""
        column = getattr(self, self.fixed_or_column[1])
        return frozenset() if column is None else frozenset({column})


def of_row(columns: Mapping[str, Any], name: str) -> Any:
    """A column of a prompt's row.

    Raises:
        ColumnError: it is not there.
    """
    if columns.get(name) is None:
        raise ColumnError("holds nothing", field=name, remedy=f"Every row must have a value in the column '{name}'")
    return columns[name]


def _key(item: Scorable) -> tuple[str, str]:
    return item.prompt_id, item.response


def _name(config: RuleRerankerConfig) -> str:
    """The rule with all settings that decide what it says."""
    told = {
        name: value
        for name, value in config.identity().items()
        if name not in ("type", "thinking") and getattr(config, name) != type(config).model_fields[name].default
    }
    return f"{config.type} {json.dumps(told, sort_keys=True, ensure_ascii=False)}" if told else config.type
