"""Goes through all runs: what a seed's runs share, then the search, then the reported ones. Resumable anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from larpo_lib.artifacts import read_metrics
from larpo_lib.config import TrainConfig
from larpo_lib.errors import ModelError
from larpo_lib.files import make_directory, write_json
from larpo_lib.progress import tell
from larpo_lib.steps import build_lists, sft, train
from larpo_lib.studies.preferences import steps
from larpo_lib.studies.preferences.steps import FoldConfig, ScoreConfig
from larpo_lib.studies.preferences.study import PreferenceStudy
from larpo_lib.workers import go_through

BROKEN = "broken.json"
"""Of a run whose training broke down: why."""


@dataclass(frozen=True)
class Task:
    """One run of one objective, or (without one) what all runs of its seed share."""

    seed: int
    objective: str = ""
    learning_rate: float = 0.0
    searching: bool = False

    @property
    def name(self) -> str:
        """Of its directory below the seed's."""
        return f"{self.objective}-{self.learning_rate:g}" if self.objective else "what its runs share"


@dataclass(frozen=True)
class Places:
    """Where things lie."""

    out: Path

    def seed(self, seed: int) -> Path:
        """What belongs to one seed."""
        return self.out / f"seed{seed}"

    def run(self, task: Task) -> Path:
        """What one run left: `trained` and `scores`, or `broken.json`."""
        return self.seed(task.seed) / "runs" / task.name

    def reference(self, seed: int, selection: str) -> Path:
        """A run that has the reference log-probabilities of such lists."""
        return self.seed(seed) / "reference" / selection


def run_tasks(tasks: Sequence[Task], study: PreferenceStudy, out: Path, jobs: int) -> None:
    """Do the tasks; several `jobs` at one time, one thread each."""
    tell(f"{len(tasks)} runs, seeds {sorted({task.seed for task in tasks})}")
    for task in go_through(tasks, partial(_do, study, Places(out)), jobs, threads=1):
        tell(f"seed {task.seed}: {task.name} is done")


def _do(study: PreferenceStudy, places: Places, task: Task) -> None:
    (_run if task.objective else _share)(task, study, places)


def _share(task: Task, study: PreferenceStudy, places: Places) -> None:
    seed, home = task.seed, places.seed(task.seed)
    make_directory(home)
    for name in ("training", "heldout"):
        config = FoldConfig(folds=study.folds, fold=seed, heldout=name == "heldout")
        steps.fold(config, prompts=places.out / "prompts", ranked=places.out / "ranked", part=home / name)
    shape = study.policy.model_copy(update={"seed": seed})
    steps.policy(shape, part=home / "training", made=home / "policy")
    sft.run(study.sft_config(seed), policy=home / "policy", demonstrations=home / "training", trained=home / "sft")
    steps.score(_scoring(study), policy=home / "sft", part=home / "heldout", scores=home / "scores")
    for selection, made in study.lists.items():
        lists = home / "lists" / selection
        build_lists.run(
            study.lists_config(selection), prompts=home / "training", ranked=[home / "training"], lists=lists
        )
        trained = places.reference(seed, selection)
        # Log-probabilities are scored before the first step, so one step that nobody looks at is enough.
        one_step = study.train_config(made.reference, 1e-12, seed, max_steps=1)
        train.run(one_step, policy=home / "sft", lists=lists, trained=trained)


def _run(task: Task, study: PreferenceStudy, places: Places) -> None:
    home, run = places.seed(task.seed), places.run(task)
    make_directory(run)
    selection = study.objectives[task.objective].lists
    known = places.reference(task.seed, selection)
    steps_allowed = None
    if task.searching:
        whole = -(-int(read_metrics(known)["lists"] or 0) // study.batch_size) * study.epochs
        steps_allowed = max(1, round(study.search_share * whole))
    config = study.train_config(task.objective, task.learning_rate, task.seed, steps_allowed)
    if train_unless_broken(config, home / "sft", home / "lists" / selection, known, run):
        steps.score(_scoring(study), policy=run / "trained", part=home / "heldout", scores=run / "scores")


def train_unless_broken(config: TrainConfig, policy: Path, lists: Path, known: Path, run: Path) -> bool:
    """Publish `run / "trained"`, or note in `run` that training broke down: a loss or a weight was no number.

    Args:
        config: of the training.
        policy: to begin with, which is the reference too.
        lists: to train on.
        known: a training that has the reference log-probabilities of these lists.
        run: directory of the run.

    Returns:
        Whether there is a policy.
    """
    if is_broken(run):
        return False
    reads = config.objective.needs_reference and not config.objective.needs_kl
    try:
        train.run(config, policy=policy, lists=lists, trained=run / "trained", reference_logps=known if reads else None)
    except ModelError as error:
        write_json(run / BROKEN, {"error": str(error).partition(" (")[0]})
        return False
    return True


def is_broken(run: Path) -> bool:
    """Whether training broke down there."""
    return (run / BROKEN).is_file()


def _scoring(study: PreferenceStudy) -> ScoreConfig:
    return ScoreConfig(
        max_prompt_tokens=study.max_prompt_tokens,
        max_tokens=study.policy.positions,
        batch_tokens=study.micro_batch_tokens,
    )
