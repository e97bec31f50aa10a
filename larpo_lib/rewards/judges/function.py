"""A user's own function as a judge."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from larpo_lib.config.kinds import JudgeConfig, Thinking
from larpo_lib.errors import ConfigError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.functions import FunctionSettings, RewardFunction
from larpo_lib.rewards.judges import Judge
from larpo_lib.thinking import scored_part


class FunctionJudgeConfig(FunctionSettings, JudgeConfig):
    """Right if a Python function of your own says so.

    It is called as one that gives rewards, and gives True, False or None for each response; None: it cannot be
    decided. 1 and 0 are taken for True and False.
    """

    first: ClassVar[tuple[str, ...]] = ("type",)

    type: Literal["function"] = "function"
    thinking: Thinking = "strip"

    @property
    def columns(self) -> frozenset[str]:
        """Those that it takes without a default."""
        return self.load().columns

    def load(self) -> RewardFunction:
        """The function; a list-relative one is none.

        Raises:
            ConfigError: as of every function; also where it is list-relative.
        """
        found = super().load()
        if found.list_relative:
            raise ConfigError(
                f"{found.name}: is list-relative, but a judge says of each response whether it is right",
                remedy="Take the decorator away, or use it as a reranker",
            )
        return found

    def make(self) -> Judge:
        """Load the function."""
        return FunctionJudge(self)

    def check(self) -> None:
        """That it can be loaded and called."""
        self.load()


class FunctionJudge:
    """Asks a function."""

    def __init__(self, config: FunctionJudgeConfig) -> None:
        self._function = config.load()
        self._read = scored_part(config.thinking)
        self.name = self._function.name

    def judge(self, items: Sequence[Scorable]) -> list[bool | None]:
        """Judge each item.

        Raises:
            LarpoError: the function raises, takes too long, or gives something else than True, False, 1, 0 or None
                for each.
        """
        seen = [replace(item, response=self._read(item.response)) for item in items]
        return self._function.values(seen, _verdict)


def _verdict(value: Any) -> bool | None:
    plain = value.item() if hasattr(value, "item") else value  # of numpy and torch
    if plain is None or (isinstance(plain, int) and plain in (0, 1)):
        return None if plain is None else bool(plain)
    raise ValueError("a judge says True, False or None")
