"""What every place has that objectives are compared on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from larpo_lib.statistics.estimates import Values
from larpo_lib.studies.objectives.study import Reach, Setting

Measured = Mapping[str, Values]
"""Measure, then prompt, to value."""


@dataclass(frozen=True)
class About:
    """What a place is called, and what is measured there.

    Attributes:
        name: of its directory.
        title: for people.
        measures: to what they are called; the first one decides.
        before: what objectives are to be better than.
        learning_rate: in the middle of the search.
        reach: of the search.
        search_seed: that no reported run has.
    """

    name: str
    title: str
    measures: Mapping[str, str]
    before: str
    learning_rate: float
    reach: Reach
    search_seed: int

    @property
    def main(self) -> str:
        """The measure that decides."""
        return next(iter(self.measures))


class Bed(Protocol):
    """A place that objectives are compared on, where all train on the same responses to the same prompts."""

    @property
    def about(self) -> About:
        """What it is called, and what is measured."""

    def run(self, settings: Sequence[Setting], seeds: Sequence[int]) -> None:
        """Do the runs that are not done yet; one whose training breaks down is noted as such."""

    def read(self, setting: Setting, seed: int) -> Measured | None:
        """What a run came to; None: training broke down."""

    def before(self, seed: int) -> Measured:
        """The same before any training."""
