"""The pipeline that compares settings: a run for each, from the same policy, on the same prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.begin import check, shares, with_world
from larpo_lib.pipeline.execute import Done
from larpo_lib.pipeline.grid import COMMON
from larpo_lib.pipeline.parameters import compose, read_settings
from larpo_lib.pipeline.results import results
from larpo_lib.pipeline.ticket import Place, Ticket, store
from larpo_lib.plan import SUMMARY
from larpo_lib.reporting.table import number
from larpo_lib.tracking import Tracker

_STUDY = "study.json"
_EXAMPLE = 'Write it as in ["{\\"train\\": {\\"epochs\\": 1}}", "{}"]'
_NO_GATE = {"loop": {"promote": "last_iteration"}}


@dataclass(frozen=True)
class Opened:
    """One run of a study.

    Attributes:
        run: its ticket.
        policy: what it begins with.
        sample_shards: the shares of sampling, i/n each; `rerank_shards` likewise.
    """

    run: str
    policy: str
    sample_shards: list[str]
    rerank_shards: list[str]


def begin(given: Mapping[str, Any], example: str) -> str:
    """Check the request and every run of it, before anything that costs, and make their MLflow runs.

    Args:
        given: the parameters of the pipeline by name, `job` and `max_rounds`.
        example: URI of one of KFP's artifacts of this run.

    Returns:
        The ticket of what the runs share.

    Raises:
        LarpoError: something asked for cannot be.
    """
    place = Place.find(given["root"], given["run_id"], given["job"], example)
    with files.journal(place.root, "start"):
        changes = _grid(given["grid"])
        base = with_world(given, place.root)
        check(base, given, place.root)
        config = {i: compose(_settled(given, base), change, _NO_GATE) for i, change in enumerate(changes, start=1)}
        for i, member in config.items():
            check(member, given, place.root)
            _comparable(i, base, member)
            if member.train.launch.nodes > 1:
                raise ConfigError("a study trains on one machine", remedy="Leave train.launch.nodes out")
        names = tuple(f"{place.name}-{i}" for i in config)
        run = _ticket(place, base, place.root, place.name, members=names)
        for (i, member), name in zip(config.items(), names, strict=True):
            _ticket(place, member, _root(place.root, i), name, shared=place.root)
        shares_of = {name: shares(given, name) for name in ("sample_shards", "rerank_shards")}
        files.write(f"{place.root}/study", _STUDY, {"grid": given["grid"], **shares_of})
    return run


def member(*, job: str, root: str, run_id: str, change: str, example: str) -> Opened:
    """One run of a study.

    Args:
        job: identity of the study's run in Kubeflow.
        root: parameter of the pipeline; `run_id` likewise.
        change: the settings that the run changes, as they stand in the grid.
        example: URI of one of KFP's artifacts of the study's run.
    """
    place = Place.find(root, run_id, job, example)
    study = files.read(f"{place.root}/study", _STUDY)
    run = _kept(_root(place.root, study["grid"].index(change) + 1))
    policy = Ticket.model_validate_json(run).plan.policy(0)
    return Opened(run, policy, study["sample_shards"], study["rerank_shards"])


def table(run: str, policies: Sequence[str]) -> Done:
    """All runs in one table, the best one named.

    Args:
        run: the ticket of what the runs share.
        policies: what the runs ended with.
    """
    shared = Ticket.model_validate_json(run)
    grid: list[str] = files.read(f"{shared.root}/study", _STUDY)["grid"]
    assert len(policies) == len(grid), (policies, grid)
    reached: dict[int, Metrics] = {}
    for i in range(1, len(grid) + 1):
        measured = results(Ticket.model_validate_json(_kept(_root(shared.root, i))))
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
    text = f"{lines}\nHighest mean reward: run {best}, `{_root(shared.root, best)}`.\n"
    files.write(shared.root, SUMMARY, {"grid": grid, "runs": {str(i): metrics for i, metrics in reached.items()}})
    metrics: Metrics = {f"run_{i}_mean_reward": found["mean_reward"] for i, found in reached.items()}
    shared.tracker().opened().log_metrics({**metrics, "best_run": best})
    return Done(f"{shared.root}/{SUMMARY}", metrics, {"best_run": best}, None, {"markdown": text})


def _ticket(
    place: Place, config: LarpoConfig, root: str, name: str, *, shared: str = "", members: tuple[str, ...] = ()
) -> str:
    key = Place(root, name, None).key
    parent = Tracker(config.tracking, store(place.root)).begin(name, key, config)
    ticket = Ticket(
        root=root, name=name, shown=place.shown, parent=parent, config=config, shared=shared, members=members
    )
    files.keep_ticket(root, ticket.model_dump_json())
    return ticket.model_dump_json()


def _root(study: str, number: int) -> str:
    return f"{study}/members/{number}"


def _kept(root: str) -> str:
    kept = files.kept_ticket(root)
    assert kept is not None, root
    return kept


def _grid(texts: Sequence[str]) -> list[dict[str, Any]]:
    if not texts or not all(isinstance(text, str) for text in texts) or len(set(texts)) < len(texts):
        raise ConfigError("grid is no list of different JSON texts", remedy=_EXAMPLE)
    changes = []
    for text in texts:
        try:
            changes.append(read_settings(text))
        except ConfigError as error:
            raise ConfigError(f"grid: {text}: {error.problem}", remedy=_EXAMPLE) from None
    return changes


def _settled(given: Mapping[str, Any], base: LarpoConfig) -> dict[str, Any]:
    """The parameters with all that `base` settled as settings, so that a run of the study changes nothing else."""
    return {"settings": base.model_dump_json(), "train_gpus": given["train_gpus"]}


def _comparable(number: int, base: LarpoConfig, member: LarpoConfig) -> None:
    for name in COMMON:
        if getattr(base, name) != getattr(member, name):
            raise ConfigError(
                f"run {number} of the grid changes {name}, which all runs of a study share",
                remedy="Set it in settings, for all of them",
            )
