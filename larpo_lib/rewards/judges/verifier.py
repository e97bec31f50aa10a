"""The verifier as a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from larpo_lib.config.kinds import JudgeConfig, Reading
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.answers.mathematics import right_answers
from larpo_lib.thinking import without_thoughts


class VerifierJudgeConfig(JudgeConfig):
    """Judges a response right if its final answer equals that of the reference."""

    type: Literal["verifier"] = "verifier"
    mode: Literal["exact", "math"] = "exact"
    """`exact`: answers are numbers. `math`: answers may also be expressions, intervals, sets, units or words."""

    @property
    def references(self) -> frozenset[Reading]:
        """It compares answers with the reference's."""
        return frozenset({"expressions" if self.mode == "math" else "numbers"})

    def make(self) -> VerifierJudge:
        """Nothing is loaded."""
        return VerifierJudge(self)


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
