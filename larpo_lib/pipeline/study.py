"""The pipeline that compares settings: a run for each, from the same policy, on the same prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.begin import check, first_task, numbers, pinned, shard_names, with_world
from larpo_lib.pipeline.earlier_results import check_earlier_results
from larpo_lib.pipeline.execute import StepResult, open_context
from larpo_lib.pipeline.functions import check_code_size
from larpo_lib.pipeline.grid import COMMON
from larpo_lib.pipeline.journal import SUMMARY
from larpo_lib.pipeline.parameters import compose, read_settings
from larpo_lib.pipeline.results import results
from larpo_lib.pipeline.retries import with_retries
from larpo_lib.pipeline.run_context import Place, RunContext, Started, member_root
from larpo_lib.pipeline.workflow_size import check_workflow_size
from larpo_lib.plan import SUMMARY as SUMMARY_FILE
from larpo_lib.plan import Plan
from larpo_lib.reporting.table import number

_EXAMPLE = 'Write it like ["{\\"train\\": {\\"epochs\\": 1}}", "{}"]'
_NO_GATE = {"loop": {"promote": "last_iteration"}}


@dataclass(frozen=True)
class StartedStudy(Started):
    """What the tasks of a study are told; `run` is where the context is of what the runs share.

    Attributes:
        members: where the contexts of the runs are.
        rounds: numbers of the rounds of the longest run.
        shards: the shards of an iteration's prompts, i/n each.
    """

    members: list[str]
    rounds: list[str]
    shards: list[str]


@first_task
def begin(given: Mapping[str, Any], place: Place) -> StartedStudy:
    """Check the request and every run of it, before anything that costs, and make their MLflow runs."""
    changes = _grid(given["grid"])
    base = pinned(with_world(given, place.root, "study"), place.root)
    check(base, given, place.root)
    # What `base` settled are settings here, so that a run of the study changes nothing else.
    settled = {"settings": base.model_dump_json(), "train_gpus": given["train_gpus"]}
    configs = [pinned(compose(settled, change, _NO_GATE), place.root) for change in changes]
    for place_in_grid, config in enumerate(configs, start=1):
        check(config, given, place.root)
        _comparable(place_in_grid, base, config)
        if config.train.launch.nodes > 1:
            raise ConfigError("a study trains on one machine", remedy="Remove train.launch.nodes")
    rounds = [config.loop.iterations for config in configs]
    code = check_code_size([read_settings(given["settings"]), *changes])
    check_workflow_size(max(rounds) * len(rounds), given["shards"], code)
    for i, config in enumerate(configs, start=1):
        check_earlier_results(Plan(config, member_root(place.root, i), place.root), given["shards"])
    names = tuple(f"{place.name}-{i}" for i in range(1, len(configs) + 1))
    job, shards = given["job"], given["shards"]
    run = RunContext.begin(job, place, base, place.name, shards=shards, members=names, grid=tuple(given["grid"]))
    members = [
        RunContext.begin(
            job, Place(member_root(place.root, i), name, place.shown), config, name, shards=shards, shared=place.root
        )
        for i, (name, config) in enumerate(zip(names, configs, strict=True), start=1)
    ]
    return StartedStudy(run, members, numbers(max(rounds)), shard_names(given["shards"]))


def table(run: str) -> StepResult:
    """All runs in one table, the best one named.

    Args:
        run: where the context is of what the runs share.
    """
    shared = open_context(run)
    with shared.journal.step(SUMMARY):
        return with_retries(lambda: _table(shared))


def _table(shared: RunContext) -> StepResult:
    grid = shared.grid
    reached: dict[int, Metrics] = {}
    for i in range(1, len(grid) + 1):
        measured = results(RunContext.at(shared.member(i)))
        reached[i] = measured[max(measured)]
    start = files.measured({0: shared.plan.at(0, "evaluation")})[0]
    columns = ("mean_reward", "accuracy", "greedy_reward", "greedy_accuracy")
    rows = [["start", "", *(number(start[name]) for name in columns)]]
    rows += [
        [str(i), f"`{grid[i - 1]}`", *(number(metrics[name]) for name in columns)] for i, metrics in reached.items()
    ]
    head = ["run", "settings", *(name.replace("_", " ") for name in columns)]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])
    best = max(reached, key=lambda i: reached[i]["mean_reward"] or float("-inf"))
    text = f"{lines}\nHighest mean reward: run {best}, `{member_root(shared.root, best)}`.\n"
    runs = {str(i): metrics for i, metrics in reached.items()}
    files.write(shared.root, SUMMARY_FILE, {"grid": [*grid], "runs": runs})
    metrics: Metrics = {f"run_{i}_mean_reward": found["mean_reward"] for i, found in reached.items()}
    shared.log({**metrics, "best_run": best})
    return StepResult(f"{shared.root}/{SUMMARY_FILE}", metrics, {"best_run": best}, None, {"markdown": text})


def _grid(texts: Sequence[str]) -> list[dict[str, Any]]:
    if not texts or not all(isinstance(text, str) for text in texts) or len(set(texts)) < len(texts):
        raise ConfigError("grid is not a list of different JSON texts", remedy=_EXAMPLE)
    changes = []
    for text in texts:
        try:
            changes.append(read_settings(text))
        except ConfigError as error:
            raise ConfigError(f"grid: {text}: {error.problem}", remedy=_EXAMPLE) from None
    return changes


def _comparable(number: int, base: LarpoConfig, member: LarpoConfig) -> None:
    for name in COMMON:
        if getattr(base, name) != getattr(member, name):
            raise ConfigError(
                f"run {number} of the grid changes {name}, which must be the same for all runs of a study",
                remedy="Set it in settings instead",
            )
    if Plan(base, "").benchmarks(0) != Plan(member, "").benchmarks(0):
        raise ConfigError(
            f"run {number} of the grid takes other benchmarks of the starting policy, which all runs of a study share",
            remedy="Set loop.benchmarks, loop.benchmark_files, the benchmarks' sections and the gate's metrics in "
            "settings instead",
        )
