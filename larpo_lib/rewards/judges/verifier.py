"""Judges: they say right or wrong, where rerankers give rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from larpo_lib.answers import Scorable
from larpo_lib.answers.mathematics import right_answers
from larpo_lib.config import JudgeConfig, VerifierJudgeConfig
from larpo_lib.thinking import without_thoughts


class Judge(Protocol):
    """Says whether responses are right.

    Attributes:
        name: what messages call it.
    """

    name: str

    def judge(self, items: Sequence[Scorable]) -> list[bool | None]:
        """Judge each item, in their order. None: it could not be decided; the caller counts it and leaves it out."""
        ...


class VerifierJudge:
    """A response is right if its final answer is the reference's. Decides every response."""

    def __init__(self, config: VerifierJudgeConfig) -> None:
        self.name = "verifier" if config.mode == "exact" else f"verifier-{config.mode}"
        self._is_right = right_answers(mathematics=config.mode == "math")

    def judge(self, items: Sequence[Scorable]) -> list[bool | None]:
        """Compare the final answer of each reply with its reference's; one whose answer cannot be read is wrong.

        Raises:
            LarpoError: a prompt has no reference, or one that cannot be read.
        """
        return [self._is_right(replace(item, response=without_thoughts(item.response))) for item in items]


def make_judge(config: JudgeConfig | None) -> Judge | None:
    """The judge that `config.type` names; None where none is asked for."""
    return None if config is None else VerifierJudge(config)
