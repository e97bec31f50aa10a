"""What a run does and where: its steps' calls, when it ends, and whose policy is the result. Nothing is run here.

`larpo run` and the pipelines on Kubeflow take their calls from here, so the same settings make the same artifacts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.candidates.memory import remembered
from larpo_lib.config import EarlyStopConfig, LarpoConfig, Section
from larpo_lib.shards import UNSHARDED, Shard

SUMMARY = "summary.json"

Step = Callable[..., Metrics]
Input = str | Sequence[str] | None
"""Where an artifact is, or several are: paths or s3:// URIs."""


@dataclass(frozen=True)
class Call:
    """One step to take.

    Attributes:
        name: of the step in MLflow, beside its iteration.
        iteration: it belongs to; None outside the iterations.
        step: module below `larpo_lib.steps`, and function.
        config: its settings; None where it has none.
        inputs: artifacts it reads, by argument.
        outputs: artifacts it publishes, by argument; the first one is what the step is about.
        arguments: further ones.
        trains: it has a training history.
    """

    name: str
    iteration: int | None
    step: str
    config: Section | None
    inputs: Mapping[str, Input]
    outputs: Mapping[str, str]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = False

    def function(self) -> Step:
        """The step's function, which imports what the step needs."""
        module, name = self.step.split(".")
        function: Step = getattr(importlib.import_module(f"larpo_lib.steps.{module}"), name)
        return function

    @property
    def output(self) -> str:
        """The artifact that the step is about."""
        return next(iter(self.outputs.values()))


@dataclass(frozen=True)
class Plan:
    """The calls of a run.

    Attributes:
        config: its settings.
        root: directory or s3:// URI that it lives under.
        shared: root of what it shares with other runs: prompts, the policy it begins with, and that one's evaluation.
        policies: those that the run was given rather than made, the one to begin with first; empty: it has none to
            begin with.
    """

    config: LarpoConfig
    root: str
    shared: str = ""
    policies: Sequence[str] = ()

    @property
    def prompts(self) -> str:
        """Prompts to train on."""
        return f"{self._first}/prompts"

    @property
    def heldout(self) -> str:
        """Prompts to evaluate on."""
        return f"{self._first}/heldout"

    @property
    def promotion(self) -> str:
        """The gate's decision about the run's result."""
        return f"{self.root}/promotion"

    def at(self, iteration: int, name: str) -> str:
        """An artifact of an iteration; 0 is before the first."""
        return f"{self.root if iteration else self._first}/iteration-{iteration}/{name}"

    def policy(self, iteration: int) -> str:
        """The policy an iteration made; 0: the one the loop begins with."""
        if self.policies:
            return self.policies[iteration]
        if iteration:
            return self.at(iteration, "policy")
        return self.config.policy if self.config.demonstrations is None else f"{self._first}/sft"

    def prepare(self) -> list[Call]:
        """Prompts, held-out prompts and demonstrations."""
        config, prompts, heldout = self.config, self.prompts, self.heldout
        if config.evaluation_prompts is None:
            outputs = {"prompts": prompts, "heldout": heldout}
            calls = [Call("prepare", None, "prepare.run", config.prepare, {}, outputs)]
        else:
            calls = [
                Call("prepare", None, "prepare.run", config.prepare, {}, {"prompts": prompts}),
                Call("prepare-evaluation", None, "prepare.run", config.evaluation_prompts, {}, {"prompts": heldout}),
            ]
        if config.demonstrations is not None:
            outputs = {"demonstrations": f"{self._first}/demonstrations"}
            calls.append(
                Call("prepare-demonstrations", None, "prepare.demonstrations", config.demonstrations, {}, outputs)
            )
        return calls

    def sft(self) -> Call:
        """Fine-tuning on demonstrations."""
        inputs = {"policy": self.config.policy, "demonstrations": f"{self._first}/demonstrations"}
        return Call("sft", None, "sft.run", self.config.sft, inputs, {"trained": self.policy(0)}, trains=True)

    def sample(self, iteration: int, shard: Shard = UNSHARDED) -> Call:
        """Candidates from the policy of the iteration before."""
        inputs = {"policy": self.policy(iteration - 1), "prompts": self.prompts}
        outputs = {"candidates": self._share(iteration, "candidates", shard)}
        arguments = {"iteration": iteration, "shard": shard}
        return Call("sample", iteration, "sample.run", self.config.sample, inputs, outputs, arguments)

    def rerank(self, iteration: int, shard: Shard = UNSHARDED) -> Call:
        """Candidates ranked; what a list-relative reranker says holds in one list, so it is given the whole of it."""
        made = [self.at(i, "candidates") for i in range(1, iteration + 1)]
        relative = self.config.rerank.reranker.list_relative
        together = remembered(made, self.config.lists.memory) if relative else made[-1:]
        inputs: dict[str, Input] = {"prompts": self.prompts, "candidates": together}
        outputs = {"ranked": self._share(iteration, "ranked", shard)}
        return Call("rerank", iteration, "rerank.run", self.config.rerank, inputs, outputs, {"shard": shard})

    def merge(self, name: str, iteration: int, count: int) -> Call:
        """The shares of a step put together.

        Args:
            name: `candidates` or `ranked`.
            iteration: it belongs to.
            count: of the shares, at least 2.
        """
        step = "sample" if name == "candidates" else "rerank"
        shards = [self._share(iteration, name, Shard(i, count)) for i in range(count)]
        return Call(step, iteration, "merge_shards.run", None, {"shards": shards}, {"merged": self.at(iteration, name)})

    def build_lists(self, iteration: int) -> Call:
        """Lists of ranked candidates, of this iteration and of those that memory keeps."""
        made = [self.at(i, "ranked") for i in range(1, iteration + 1)]
        ranked = made[-1:] if self.config.rerank.reranker.list_relative else made
        inputs: dict[str, Input] = {"prompts": self.prompts, "ranked": ranked}
        outputs = {"lists": self.at(iteration, "lists")}
        return Call("build_lists", iteration, "build_lists.run", self.config.lists, inputs, outputs)

    def train(self, iteration: int) -> Call:
        """The policy trained on the lists."""
        from larpo_lib.objectives import OBJECTIVES  # loads torch

        config = self.config
        fixed = config.loop.reference == "initial" and OBJECTIVES[config.train.objective.type].needs_reference
        inputs = {
            "policy": self.policy(iteration - 1),
            "lists": self.at(iteration, "lists"),
            "reference": self.policy(0) if fixed else None,
        }
        outputs = {"trained": self.policy(iteration)}
        return Call("train", iteration, "train.run", config.train, inputs, outputs, trains=True)

    def evaluate(self, iteration: int) -> Call:
        """An iteration's policy measured."""
        inputs = {"policy": self.policy(iteration), "prompts": self.heldout}
        outputs = {"evaluation": self.at(iteration, "evaluation")}
        return Call("evaluate", iteration, "evaluate.run", self.config.evaluate, inputs, outputs)

    def promote(self, iteration: int, promotion: str, iteration_of_call: int | None = None) -> Call:
        """The gate. It is to be given the registry.

        Args:
            iteration: whose policy it is about.
            promotion: where the decision goes.
            iteration_of_call: the iteration it belongs to; None: it is about the run's result.
        """
        inputs = {
            "policy": self.policy(iteration),
            "evaluation": self.at(iteration, "evaluation"),
            "baseline": self.at(0, "evaluation") if iteration and self.policy(0) else None,
        }
        outputs = {"promotion": promotion}
        return Call("promote", iteration_of_call, "promote.run", self.config.promote, inputs, outputs)

    def report(self, iterations: int) -> Call:
        """The report of a run that made so many iterations."""
        made = range(1, iterations + 1)
        shown = (
            [f"{self._first}/demonstrations", f"{self._first}/sft"] if self.config.demonstrations is not None else []
        )
        inputs: dict[str, Input] = {
            "prompts": self.heldout,
            "evaluations": [self.at(i, "evaluation") for i in range(iterations + 1) if self.measures(i, iterations)],
            "preparations": [self.prompts, *shown],
            "candidates": [self.at(i, "candidates") for i in made],
            "ranked": [self.at(i, "ranked") for i in made],
            "lists": [self.at(i, "lists") for i in made],
            "policies": [self.policy(i) for i in made],
            "promotion": self.promotion,
        }
        return Call("report", None, "report.run", self.config.report, inputs, {"report": f"{self.root}/report"})

    def measures(self, iteration: int, last: int) -> bool:
        """Whether an iteration's policy is evaluated, where `last` is the last iteration."""
        return self.config.loop.evaluate == "every_iteration" or iteration in (0, last)

    def stops_after(self, measured: Mapping[int, Metrics]) -> bool:
        """Whether the loop ends early with the last of the iterations measured."""
        rule = self.config.loop.early_stop
        return rule is not None and has_stalled([measured[i] for i in sorted(measured)], rule)

    def last(self, measured: Mapping[int, Metrics]) -> int:
        """The last iteration, as far as the iterations measured tell."""
        numbers = sorted(measured)
        for end in range(1, len(numbers) + 1):
            if self.stops_after({i: measured[i] for i in numbers[:end]}):
                return numbers[end - 1]
        return self.config.loop.iterations

    @property
    def _first(self) -> str:
        """Root of what is there before the first iteration."""
        return self.shared or self.root

    def _share(self, iteration: int, name: str, shard: Shard) -> str:
        if shard == UNSHARDED:
            return self.at(iteration, name)
        return self.at(iteration, f"shards/{name}-{shard.index}-of-{shard.count}")


def has_stalled(measured: Sequence[Metrics], rule: EarlyStopConfig) -> bool:
    """Whether none of the last `patience` iterations beat the best one before them by more than `min_delta`."""
    values = [_defined(metrics, rule.metric) for metrics in measured]
    if len(values) <= rule.patience:
        return False
    return max(values[-rule.patience :]) <= max(values[: -rule.patience]) + rule.min_delta


def best_iteration(measured: Mapping[int, Metrics], rule: EarlyStopConfig | None) -> int:
    """The iteration whose policy is the result: the last one, or with early stop the best one."""
    if rule is None:
        return max(measured)
    return max(sorted(measured), key=lambda i: _defined(measured[i], rule.metric))


def summarize(
    config: LarpoConfig, measured: Mapping[int, Metrics], promoted: Metrics, seconds: float
) -> dict[str, Any]:
    """What `summary.json` holds."""
    names = ("mean_reward", "accuracy", f"pass_at_{config.evaluate.n}", "greedy_accuracy", "greedy_reward")
    return {
        "name": config.name,
        "objective": config.train.objective.type,
        "iterations": [
            {"iteration": i, **{name: metrics[name] for name in names}} for i, metrics in sorted(measured.items())
        ],
        "greedy_accuracy": measured[max(measured)]["greedy_accuracy"],
        "promoted": bool(promoted["promoted"]),
        "seconds": round(seconds, 1),
    }


def _defined(metrics: Metrics, name: str) -> float:
    value = metrics[name]
    assert value is not None, f"{name} was checked to be defined before the loop began"
    return value
