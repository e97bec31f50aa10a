"""The pipeline that compares settings: a run for each, from the same policy, on the same prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.begin import check, with_world
from larpo_lib.pipeline.execute import Done
from larpo_lib.pipeline.parameters import compose
from larpo_lib.pipeline.results import results
from larpo_lib.pipeline.ticket import Place, Ticket, store
from larpo_lib.reporting.table import number
from larpo_lib.tracking import Tracker

_COMMON = ("policy", "prepare", "demonstrations", "evaluation_prompts", "sft", "evaluate", "tracking")
"""What the runs share. Runs that were not measured alike cannot be compared."""
_NO_GATE = {"loop": {"promote": "last_iteration"}}


def begin(given: Mapping[str, Any], example: str) -> tuple[str, list[str]]:
    """Check the request and every run of it, before anything that costs.

    Args:
        given: the parameters of the pipeline by name, `job` and `max_rounds`.
        example: URI of one of KFP's artifacts of this run.

    Returns:
        The ticket of what the runs share, and the numbers of the runs.

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
    return run, [str(i) for i in config]


def member(run: str, number: int, policy: str) -> str:
    """The ticket of one run of a study, which begins with `policy`."""
    shared = Ticket.model_validate_json(run)
    assert policy == shared.plan.policy(0), policy
    return _kept(_root(shared.root, number))


def _kept(root: str) -> str:
    kept = files.kept_ticket(root)
    assert kept is not None, root
    return kept


def table(run: str, grid: str, policies: Sequence[str]) -> Done:
    """All runs in one table, the best one named.

    Args:
        run: the ticket of what the runs share.
        grid: parameter of the pipeline.
        policies: what the runs ended with.
    """
    shared = Ticket.model_validate_json(run)
    changes = _grid(grid)
    assert len(policies) == len(changes), (policies, changes)
    reached: dict[int, Metrics] = {}
    for i in range(1, len(changes) + 1):
        measured = results(Ticket.model_validate_json(_kept(_root(shared.root, i))))
        reached[i] = measured[max(measured)]
    start = results_of_start(shared)
    columns = ("mean_reward", "accuracy", "greedy_reward", "greedy_accuracy")
    rows = [["start", "", *(number(start[name]) for name in columns)]]
    rows += [
        [str(i), f"`{json.dumps(changes[i - 1], sort_keys=True)}`", *(number(metrics[name]) for name in columns)]
        for i, metrics in reached.items()
    ]
    head = ["run", "settings", *(name.replace("_", " ") for name in columns)]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])
    best = max(reached, key=lambda i: reached[i]["mean_reward"] or float("-inf"))
    text = f"{lines}\nHighest mean reward: run {best}, `{_root(shared.root, best)}`.\n"
    files.write(shared.root, "study.json", {"grid": changes, "runs": {str(i): reached[i] for i in reached}})
    metrics: Metrics = {f"run_{i}_mean_reward": found["mean_reward"] for i, found in reached.items()}
    shared.tracker().opened().log_metrics({**metrics, "best_run": best})
    return Done(f"{shared.root}/study.json", metrics, {"best_run": best}, None, {"markdown": text})


def results_of_start(ticket: Ticket) -> Metrics:
    """The metrics of the policy that all runs began with."""
    return files.measured({0: ticket.plan.at(0, "evaluation")})[0]


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


def _grid(text: str) -> list[dict[str, Any]]:
    try:
        changes = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"grid is no JSON: {error}") from None
    if not isinstance(changes, list) or not changes or not all(isinstance(change, dict) for change in changes):
        raise ConfigError("grid is no list of settings", remedy='Write it as in [{"train": {"epochs": 1}}, {}]')
    return changes


def _settled(given: Mapping[str, Any], base: LarpoConfig) -> dict[str, Any]:
    """The parameters with all that `base` settled as settings, so that a run of the study changes nothing else."""
    return {"settings": base.model_dump_json(), "train_gpus": given["train_gpus"]}


def _comparable(number: int, base: LarpoConfig, member: LarpoConfig) -> None:
    for name in _COMMON:
        if getattr(base, name) != getattr(member, name):
            raise ConfigError(
                f"run {number} of the grid changes {name}, which all runs of a study share",
                remedy="Set it in settings, for all of them",
            )
