"""Judges: they say right or wrong, where rerankers give rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from larpo_lib.config import JudgeConfig
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
    """The judge that `config.type` names; None where none is asked for."""
    from larpo_lib.rewards.judges.verifier import VerifierJudge

    return None if config is None else VerifierJudge(config)
