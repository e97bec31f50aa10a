"""What a run does and where: its steps' calls, when it ends, and whose policy is the result. Nothing is run here.

`larpo run` and the pipelines on Kubeflow take their calls from here, so the same settings make the same artifacts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.candidates.memory import remembered
from larpo_lib.config import LarpoConfig, Section, by_iteration
from larpo_lib.early_stop import has_stalled
from larpo_lib.evaluation.run_benchmarks import benchmark_inputs, benchmarks_of_run
from larpo_lib.shards import UNSHARDED, Shard
from larpo_lib.steps.declarations import STEPS, Step
from larpo_lib.steps.edge import Location

SUMMARY = "summary.json"


@dataclass(frozen=True)
class StepCall:
    """One step to take.

    Attributes:
        step: what it is.
        name: of the step in MLflow, beside its iteration.
        iteration: it belongs to; None outside the iterations.
        config: its settings; None where it has none.
        inputs: artifacts it reads, by argument: paths or s3:// URIs.
        outputs: artifacts it publishes, by argument; the first one is what the step is about.
        arguments: further ones.
        asked: metrics that its artifact must hold for each item, since the gate asks for them.
    """

    step: Step
    name: str
    iteration: int | None
    config: Section | None
    inputs: Mapping[str, Location]
    outputs: Mapping[str, str]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    asked: Sequence[str] = ()

    @property
    def settings(self) -> Mapping[str, Section | None]:
        """The step's settings by the name of their section."""
        return {} if self.step.section is None else {self.step.section: self.config}

    @property
    def without_weights(self) -> Sequence[str]:
        """Inputs that are models whose weights are not read: the registry only points to them."""
        return ("policy",) if self.step.needs_registry else ()

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

    def prepare(self) -> list[StepCall]:
        """Prompts, held-out prompts and demonstrations."""
        prompts, heldout, config = {"prompts": self.prompts}, {"prompts": self.heldout}, self.config
        if config.evaluation_prompts is None:
            calls = [self._call("prepare", {}, {**prompts, "heldout": self.heldout})]
        else:
            of_evaluation = replace(STEPS["prepare"], name="prepare-evaluation", section="evaluation_prompts")
            calls = [self._call("prepare", {}, prompts), self._call(of_evaluation, {}, heldout)]
        if config.demonstrations is not None:
            calls.append(self._call("prepare-demonstrations", {}, {"demonstrations": self._demonstrations}))
        return calls

    def prepared(self) -> dict[str, str]:
        """Where held-out prompts are, and by its name each thing that the run trains on."""
        if self.policies:
            return {"heldout": self.heldout}
        demonstrations = {} if self.config.demonstrations is None else {"demonstrations": self._demonstrations}
        return {"heldout": self.heldout, "prompts": self.prompts, **demonstrations}

    def sft(self) -> StepCall:
        """Fine-tuning on demonstrations."""
        inputs = {"policy": self.config.policy, "demonstrations": self._demonstrations}
        return self._call("sft", inputs, {"trained": self.policy(0)})

    def sample(self, iteration: int, shard: Shard = UNSHARDED) -> StepCall:
        """Candidates from the policy of the iteration before."""
        inputs = {"policy": self.policy(iteration - 1), "prompts": self.prompts}
        outputs = {"candidates": self._share(iteration, "candidates", shard)}
        return self._call("sample", inputs, outputs, iteration, {"iteration": iteration, "shard": shard})

    def rerank(self, iteration: int, shard: Shard = UNSHARDED) -> StepCall:
        """Candidates ranked; what a list-relative reranker says holds in one list, so it is given the whole of it."""
        made = [self.at(i, "candidates") for i in range(1, iteration + 1)]
        relative = self.config.rerank.reranker.list_relative
        together = remembered(made, self._settings(iteration).lists.memory) if relative else made[-1:]
        inputs: dict[str, Location] = {"prompts": self.prompts, "candidates": together}
        outputs = {"ranked": self._share(iteration, "ranked", shard)}
        return self._call("rerank", inputs, outputs, iteration, {"shard": shard})

    def merge(self, name: str, iteration: int, count: int) -> StepCall:
        """The shares of a step put together.

        Args:
            name: `candidates` or `ranked`.
            iteration: it belongs to.
            count: of the shares, at least 2.
        """
        merge = replace(STEPS["merge_shards"], name="sample" if name == "candidates" else "rerank")
        shards = [self._share(iteration, name, Shard(i, count)) for i in range(count)]
        return self._call(merge, {"shards": shards}, {"merged": self.at(iteration, name)}, iteration)

    def build_lists(self, iteration: int) -> StepCall:
        """Lists of ranked candidates, of this iteration and of those that memory keeps."""
        made = [self.at(i, "ranked") for i in range(1, iteration + 1)]
        ranked = made[-1:] if self.config.rerank.reranker.list_relative else made
        inputs: dict[str, Location] = {"prompts": self.prompts, "ranked": ranked}
        return self._call("build_lists", inputs, {"lists": self.at(iteration, "lists")}, iteration)

    def train(self, iteration: int) -> StepCall:
        """The policy trained on the lists."""
        fixed = self.config.loop.reference == "initial" and self._settings(iteration).train.objective.needs_reference
        inputs = {
            "policy": self.policy(iteration - 1),
            "lists": self.at(iteration, "lists"),
            "reference": self.policy(0) if fixed else None,
        }
        return self._call("train", inputs, {"trained": self.policy(iteration)}, iteration)

    def evaluate(self, iteration: int) -> StepCall:
        """An iteration's policy measured."""
        inputs = {"policy": self.policy(iteration), "prompts": self.heldout}
        return self._call("evaluate", inputs, {"evaluation": self.at(iteration, "evaluation")}, iteration)

    def benchmarks(self, iteration: int) -> list[StepCall]:
        """The benchmarks that are taken as soon as an iteration's policy is evaluated.

        They are those of `loop.benchmarks`, and the gate's if the policy is known to go through the gate.
        """
        gated = iteration == 0 or self.config.loop.promote == "every_iteration"
        return [call for call in self.all_benchmarks(iteration) if gated or call.name in self.config.loop.benchmarks]

    def late_benchmarks(self, result: int) -> list[StepCall]:
        """What the gate asks for beyond `benchmarks`, once it is known whose policy is the run's result."""
        taken = [call.name for call in self.benchmarks(result)]
        return [call for call in self.all_benchmarks(result) if call.name not in taken]

    def all_benchmarks(self, iteration: int) -> list[StepCall]:
        """The benchmarks of an iteration's policy, if there is one, that goes through the gate."""
        own = {"policy": self.policy(iteration), "baseline": self.policy(0)}
        own |= {"prompts": self.heldout, "evaluated": self.at(iteration, "evaluation")}
        found = []
        for one, asked in benchmarks_of_run(self.config) if own["policy"] else ():
            inputs = benchmark_inputs(one, self.config, {name: place for name, place in own.items() if place})
            call = self._call(one.step, inputs, {"evaluation": self.at(iteration, one.name)})
            found.append(replace(call, iteration=iteration, asked=asked))
        return found

    def promote(self, iteration: int, promotion: str, iteration_of_call: int | None = None) -> StepCall:
        """The gate.

        Args:
            iteration: whose policy it is about.
            promotion: where the decision goes.
            iteration_of_call: the iteration it belongs to; None: it is about the run's result.
        """
        compared = iteration > 0 and bool(self.policy(0))
        inputs: dict[str, Location] = {
            "policy": self.policy(iteration),
            "evaluation": self.at(iteration, "evaluation"),
            "baseline": self.at(0, "evaluation") if compared else None,
            "benchmarks": [call.output for call in self.all_benchmarks(iteration)],
            "baseline_benchmarks": [call.output for call in self.benchmarks(0)] if compared else [],
        }
        known = {} if self.policies else {"run": self.config, "iteration": iteration}
        return self._call("promote", inputs, {"promotion": promotion}, iteration_of_call, known)

    def report(self, iterations: int, result: int) -> StepCall:
        """The report of a run that made so many iterations, and whose result is that of one of them."""
        made = range(1, iterations + 1)
        measured = [i for i in range(iterations + 1) if self.measures(i, iterations)]
        taken = [self.all_benchmarks(i) if i == result else self.benchmarks(i) for i in measured]
        shown = [] if self.config.demonstrations is None else [self._demonstrations, f"{self._first}/sft"]
        inputs: dict[str, Location] = {
            "prompts": self.heldout,
            "evaluations": [self.at(i, "evaluation") for i in measured],
            "preparations": [self.prompts, *shown],
            "candidates": [self.at(i, "candidates") for i in made],
            "ranked": [self.at(i, "ranked") for i in made],
            "lists": [self.at(i, "lists") for i in made],
            "policies": [self.policy(i) for i in made],
            "promotion": self.promotion,
            "benchmarks": [call.output for calls in taken for call in calls],
        }
        return self._call("report", inputs, {"report": f"{self.root}/report"})

    def measures(self, iteration: int, last: int) -> bool:
        """Whether an iteration's policy is evaluated, where `last` is the last iteration."""
        return self.config.loop.evaluate == "every_iteration" or iteration in (0, last)

    def last(self, measured: Mapping[int, Metrics]) -> int:
        """The last iteration, as far as the iterations measured tell."""
        rule, numbers = self.config.loop.early_stop, sorted(measured)
        for end, number in enumerate(numbers, start=1):
            if rule is not None and has_stalled([measured[i] for i in numbers[:end]], rule):
                return number
        return self.config.loop.iterations

    def _call(
        self,
        step: str | Step,
        inputs: Mapping[str, Location],
        outputs: Mapping[str, str],
        iteration: int | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> StepCall:
        step = STEPS[step] if isinstance(step, str) else step
        config = None if step.section is None else getattr(self._settings(iteration), step.section)
        return StepCall(step, step.name, iteration, config, inputs, outputs, arguments or {})

    def _settings(self, iteration: int | None) -> LarpoConfig:
        """The settings of an iteration; None: of what is outside them."""
        return self._changing[max(first for first in self._changing if first <= (iteration or 1))]

    @cached_property
    def _changing(self) -> Mapping[int, LarpoConfig]:
        return by_iteration(self.config)

    @property
    def _demonstrations(self) -> str:
        return f"{self._first}/demonstrations"

    @property
    def _first(self) -> str:
        """Root of what is there before the first iteration."""
        return self.shared or self.root

    def _share(self, iteration: int, name: str, shard: Shard) -> str:
        if shard == UNSHARDED:
            return self.at(iteration, name)
        return self.at(iteration, f"shards/{name}-{shard.index}-of-{shard.count}")
