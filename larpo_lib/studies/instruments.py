"""What measures the first and the last policy of each run of a study: benchmarks, and as a retriever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.plan import Plan
from larpo_lib.studies.benchmarks import BenchmarkPreset, benchmark_config
from larpo_lib.studies.measurements import Measurement
from larpo_lib.studies.study import Cell


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
        policy = Path(plan.policy(iteration))
        if self.retrieval is not None:
            inputs = {
                "policy": policy,
                "prompts": Path(plan.heldout),
                "evaluated": Path(plan.at(iteration, "evaluation")),
                **self.documents[cell.seed],
            }
            yield Measurement("retrieval", self.retrieval, inputs, Path(plan.at(iteration, "retrieval")), {})
        for name, benchmark in self.benchmarks.items():
            inputs = {"policy": policy, **{argument: Path(path) for argument, path in benchmark.files.items()}}
            config, evaluation = benchmark_config(cell, benchmark), Path(plan.at(iteration, name))
            yield Measurement(benchmark.step, config, inputs, evaluation, benchmark.measures)


NOTHING = Instruments()
"""Runs are measured by their own evaluation alone."""
