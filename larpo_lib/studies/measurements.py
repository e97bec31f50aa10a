"""What a study measures the policies of its runs by, besides each run's own evaluation: steps that exist already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from larpo_lib.config import Section
from larpo_lib.errors import ArtifactError
from larpo_lib.evaluation import benchmarks
from larpo_lib.pool import use_pool
from larpo_lib.progress import tell
from larpo_lib.reporting.benchmark import read_values
from larpo_lib.statistics.estimates import Values


@dataclass(frozen=True)
class Measurement:
    """A step that measures one policy and writes `scores`.

    Attributes:
        step: folder below `larpo_lib.evaluation`.
        config: its settings.
        inputs: by the step's arguments, the policy among them.
        evaluation: the artifact it writes.
        measures: measure of the study to a metric of the step; empty: every metric, by its own name.
    """

    step: str
    config: Section
    inputs: Mapping[str, Path]
    evaluation: Path
    measures: Mapping[str, str]

    def take(self, pool: Path) -> dict[str, Values]:
        """Measure, or find that it was done.

        Args:
            pool: of the study. The policy that several runs begin with is measured once.

        Returns:
            Measure, then item, to the value.

        Raises:
            ArtifactError: the step wrote no such metric, or was taken with other settings before.
        """
        if not self.evaluation.exists():
            tell(f"measuring: {self.evaluation}")
        with use_pool(pool):
            benchmarks()[self.step].step.run(self.config, evaluation=self.evaluation, **self.inputs)
        found = read_values(self.evaluation)
        missing = sorted({*self.measures.values()} - found.keys())
        if missing:
            raise ArtifactError(
                f"{self.evaluation}: has no {missing[0]}",
                remedy="Check the benchmark's files and measures, and delete it",
            )
        return {name: found[metric] for name, metric in self.measures.items()} or {**found}
