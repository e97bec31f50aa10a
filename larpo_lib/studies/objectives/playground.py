"""Objectives on the embedded world: the same sampled and ranked responses for all, one training, and an evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.config import LarpoConfig, apply_settings
from larpo_lib.execution import execute_step
from larpo_lib.files import make_directory
from larpo_lib.plan import Plan, StepCall
from larpo_lib.playground.world import make_world, world_sources
from larpo_lib.progress import tell
from larpo_lib.steps import build_lists, evaluate, train
from larpo_lib.steps.edge import at_edge
from larpo_lib.studies.instruments import evaluated_by_prompt
from larpo_lib.studies.objectives.bed import About, Measured
from larpo_lib.studies.objectives.study import ObjectivesStudy, Setting
from larpo_lib.studies.preferences.runs import is_broken, train_unless_broken
from larpo_lib.workers import go_through

_NO_TRAINING = {"learning_rate": 1e-12, "max_steps": 1}
"""Log-probabilities under the reference are scored before the first step, so one that nobody looks at is enough."""


@dataclass(frozen=True)
class Playground:
    """One iteration from a policy that was fine-tuned on demonstrations.

    Attributes:
        study: what is compared.
        out: directory of the study.
        jobs: runs at one time.
    """

    study: ObjectivesStudy
    out: Path
    jobs: int

    @property
    def about(self) -> About:
        """The graded reward decides."""
        own = self.study.playground
        return About(
            name="playground",
            title="Word problems",
            measures={"reward": "mean reward", "accuracy": "accuracy", "greedy_accuracy": "greedy accuracy"},
            before="the start",
            learning_rate=own.learning_rate,
            reach=own.reach,
            search_seed=own.search_seed,
        )

    def run(self, settings: Sequence[Setting], seeds: Sequence[int]) -> None:
        """Make what each seed's runs share, then train and evaluate."""
        for seed in go_through(seeds, self._share, min(self.jobs, len(seeds)), threads=1):
            tell(f"playground, seed {seed}: what its runs share is there")
        tasks = [(setting, seed) for seed in seeds for setting in settings]
        for setting, seed in go_through(tasks, self._train, self.jobs, threads=1):
            tell(f"playground, seed {seed}: {setting.folder} is done")

    def read(self, setting: Setting, seed: int) -> Measured | None:
        """By prompt, from its evaluation."""
        run = self._run(setting, seed)
        return None if is_broken(run) else self._told(run / "evaluation")

    def before(self, seed: int) -> Measured:
        """Of the fine-tuned policy."""
        return self._told(Path(self._plan(seed).at(0, "evaluation")))

    def _share(self, seed: int) -> None:
        """Everything that is the same for all objectives, down to the reference's log-probabilities of the lists."""
        make_world(self.out / "worlds" / f"seed{seed}", seed)
        home, plan, preferences = self._home(seed), self._plan(seed), self.study.preferences()
        make_directory(home)
        for call in _shared(plan):
            with at_edge(call.config, call.inputs, call.outputs) as paths:
                execute_step(call, paths, None)
        for selection, made in preferences.lists.items():
            lists, ranked = home / "lists" / selection, [Path(plan.at(1, "ranked"))]
            build_lists.run(preferences.lists_config(selection), prompts=Path(plan.prompts), ranked=ranked, lists=lists)
            config = self._config(seed, {"train": {"objective": {"type": made.reference}, **_NO_TRAINING}}).train
            train.run(config, policy=Path(plan.policy(0)), lists=lists, trained=home / "reference" / selection)

    def _train(self, task: tuple[Setting, int]) -> None:
        setting, seed = task
        home, run, plan = self._home(seed), self._run(setting, seed), self._plan(seed)
        make_directory(run)
        selection = self.study.preferences().objectives[setting.objective].lists
        chosen = {"objective": {"type": setting.objective, **setting.changed}, "learning_rate": setting.learning_rate}
        config = self._config(seed, {"train": chosen})
        lists, known = home / "lists" / selection, home / "reference" / selection
        if train_unless_broken(config.train, Path(plan.policy(0)), lists, known, run):
            trained, heldout = run / "trained", Path(plan.heldout)
            evaluate.run(config.evaluate, policy=trained, prompts=heldout, evaluation=run / "evaluation")

    def _told(self, evaluation: Path) -> Measured:
        found = evaluated_by_prompt(evaluation)
        return {name: found[name] for name in self.about.measures}

    def _home(self, seed: int) -> Path:
        return self.out / "playground" / f"seed{seed}"

    def _run(self, setting: Setting, seed: int) -> Path:
        return self._home(seed) / "runs" / setting.folder

    def _plan(self, seed: int) -> Plan:
        return Plan(self._config(seed, {}), str(self._home(seed)))

    def _config(self, seed: int, settings: Mapping[str, Any]) -> LarpoConfig:
        sources = world_sources(self.out / "worlds" / f"seed{seed}")
        return self.study.playground.config(apply_settings(sources, dict(settings)), seed)


def _shared(plan: Plan) -> Iterator[StepCall]:
    """The steps of a run up to its first training, but for the lists, of which there are several."""
    yield from plan.prepare()
    yield plan.sft()
    yield plan.evaluate(0)
    yield plan.sample(1)
    yield plan.rerank(1)
