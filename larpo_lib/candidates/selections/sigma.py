"""A pair whose worse response is at a set distance below the mean reward."""

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import ClassVar, Literal

from pydantic import Field

from larpo_lib.config.kinds import SelectionConfig
from larpo_lib.schemas import RankedRow


class SigmaConfig(SelectionConfig):
    """The best response against the one whose reward is nearest the mean minus `deviations` standard deviations.

    The worst of very many responses is an outlier that is easy to tell from the best, so that `best_worst` gets worse
    as lists grow. Mean and standard deviation are those of all distinct responses to the prompt.

    Source: arXiv 2502.16825.
    """

    does: ClassVar[str] = "best, and the response nearest the mean minus two standard deviations of the rewards"
    when: ClassVar[str] = "pairs from many responses"

    type: Literal["sigma"] = "sigma"
    deviations: float = Field(2.0, ge=-5.0, le=5.0)
    """How many standard deviations (of the population) below the mean the worse response is to be; negative: above."""

    @property
    def in_words(self) -> str:
        """With the distance."""
        return f"best and mean - {self.deviations:g} sigma"

    def select(self, ordered: Sequence[RankedRow]) -> list[RankedRow]:
        """The best response and a strictly worse one; of two equally near ones the one with the higher reward."""
        best = ordered[0]
        rewards = [row["reward"] for row in ordered]
        aim = fmean(rewards) - self.deviations * pstdev(rewards)
        worse = [row for row in ordered if row["reward"] < best["reward"]]
        return [best, *sorted(worse, key=lambda row: abs(row["reward"] - aim))[:1]]

    def most(self, k: int) -> int:
        """A pair."""
        return 2
