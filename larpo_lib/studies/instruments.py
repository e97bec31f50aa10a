"""What measures the first and the last policy of each run of a study: benchmarks, and as a retriever."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from larpo_lib.config import Section
from larpo_lib.errors import ArtifactError
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.models.hub import local_model
from larpo_lib.plan import Plan
from larpo_lib.pool import use_pool
from larpo_lib.progress import tell
from larpo_lib.provenance import RecordedEvaluation, read_settings
from larpo_lib.reporting.benchmark import read_values
from larpo_lib.reporting.held_out import QUALITY_COLUMNS, Measures
from larpo_lib.statistics.estimates import Values
from larpo_lib.studies.benchmarks import BenchmarkPreset, benchmark_config, measuring
from larpo_lib.studies.study import WORLD, Cell, filled
from larpo_lib.tables import iterate_table


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
            measuring()[self.step].run(self.config, evaluation=self.evaluation, **self.inputs)
        found = evaluated_by_prompt(self.evaluation) if self.step == "evaluate" else read_values(self.evaluation)
        missing = sorted({*self.measures.values()} - found.keys())
        if missing:
            raise ArtifactError(
                f"{self.evaluation}: has no {missing[0]}",
                remedy="Check the benchmark's files and measures, delete this artifact and run the study again",
            )
        return {name: found[metric] for name, metric in self.measures.items()} or {**found}


@dataclass(frozen=True)
class Instruments:
    """What a study measures policies by, besides each run's own evaluation.

    Attributes:
        benchmarks: by name.
        retrieval: settings of the step `retrieval`; None: policies are not measured as retrievers.
        documents: seed to what `retrieval` searches, by its arguments.
    """

    benchmarks: Mapping[str, BenchmarkPreset] = field(default_factory=dict)
    retrieval: RetrievalConfig | None = None
    documents: Mapping[int, Mapping[str, Path]] = field(default_factory=dict)

    def of_policy(self, cell: Cell, plan: Plan, iteration: int) -> Iterator[Measurement]:
        """The measurements of one policy.

        Args:
            cell: whose policy it is.
            plan: of the cell's run.
            iteration: that made the policy; 0: the one the run began with.
        """
        policy = local_model(plan.policy(iteration))
        if self.retrieval is not None:
            inputs = {
                "policy": policy,
                "prompts": Path(plan.heldout),
                "evaluated": Path(plan.at(iteration, "evaluation")),
                **self.documents[cell.seed],
            }
            yield Measurement("retrieval", self.retrieval, inputs, Path(plan.at(iteration, "retrieval")), {})
        for name, benchmark in self.benchmarks.items():
            own = {"heldout": plan.heldout, "evaluation": plan.at(iteration, "evaluation")}
            files = filled(benchmark.files, {WORLD: cell.world, "start": local_model(plan.policy(0)), **own})
            inputs = {"policy": policy, **{argument: Path(path) for argument, path in files.items()}}
            config, evaluation = benchmark_config(cell, benchmark), Path(plan.at(iteration, name))
            yield Measurement(benchmark.step, config, inputs, evaluation, benchmark.measures)


def evaluated_by_prompt(evaluation: Path) -> dict[str, Values]:
    """What an evaluation of the step `evaluate` says of each prompt, by measure."""
    recorded = read_settings(evaluation, RecordedEvaluation)
    rows = iterate_table(evaluation, "evaluated", QUALITY_COLUMNS)
    return {name: values for name, values in Measures(rows, judged=recorded.judge is not None).items() if values}


NOTHING = Instruments()
"""Runs are measured by their own evaluation alone."""
