"""Judges: they say right or wrong, where rerankers give rewards. A module here is a judge, and its settings."""

from collections.abc import Sequence
from typing import Protocol

from larpo_lib.config.kinds import JudgeConfig
from larpo_lib.rewards.answers import Scorable


class Judge(Protocol):
    """Says whether responses are right.

    Attributes:
        name: what messages call it.
    """

    name: str

    def judge(self, items: Sequence[Scorable]) -> list[bool | None]:
        """Judge each item, in their order. None: it could not be decided; the caller counts it and leaves it out."""
        ...


def make_judge(config: JudgeConfig | None) -> Judge | None:
    """The judge of some settings; None where none is asked for."""
    judge: Judge | None = None if config is None else config.make()
    return judge
