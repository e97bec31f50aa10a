"""The first component: checks the whole request, before anything that costs, and writes the run's ticket."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.checks import check_settings
from larpo_lib.config import LarpoConfig, apply_settings, parse_settings
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.parameters import QUICKSTART, compose, read_settings
from larpo_lib.pipeline.shown import Artifact
from larpo_lib.pipeline.ticket import Place, Ticket, store
from larpo_lib.storage import cache_dir, fetch, is_remote, upload
from larpo_lib.tracking import Tracker


@dataclass(frozen=True)
class Started:
    """What the run's tasks are told.

    Attributes:
        run: the ticket.
        sample_shards: the shares of sampling, i/n each; `rerank_shards` likewise.
        train_gpus: GPUs of the pod that trains: none where it only follows other machines.
        train_cpus: processors of that pod; `train_memory` likewise.
    """

    run: str
    sample_shards: list[str]
    rerank_shards: list[str]
    train_gpus: int
    train_cpus: str
    train_memory: str


def begin(given: Mapping[str, Any], example: str) -> Started:
    """Check the request, find or make its MLflow run, and leave the ticket in the run's root.

    Args:
        given: the parameters of the pipeline by name, `job` and `max_rounds`.
        example: URI of one of KFP's artifacts of this run.

    Raises:
        LarpoError: something asked for cannot be.
    """
    place = Place.find(given["root"], given["run_id"], given["job"], example)
    with files.journal(place.root, "start"):
        config = with_world(given, place.root)
        check(config, given, place.root)
        parent = Tracker(config.tracking, store(place.root)).begin(config.name, place.key, config)
        follows = config.train.launch.nodes > 1
        ticket = Ticket(
            root=place.root, name=place.name, shown=place.shown, parent=parent, config=config,
            resources=_resources(given) if follows else {},
        )  # fmt: skip
        run = ticket.model_dump_json()
        files.keep_ticket(place.root, run)
    return Started(
        run,
        shares(given, "sample_shards"),
        shares(given, "rerank_shards"),
        train_gpus=0 if follows else given["train_gpus"],
        train_cpus="1" if follows else given["train_cpus"],
        train_memory="2Gi" if follows else given["train_memory"],
    )


def write(run: str, artifact: Artifact) -> None:
    """Show a ticket as an artifact of KFP."""
    ticket = json.loads(run)
    Path(artifact.path).write_text(json.dumps(ticket, indent=2, sort_keys=True) + "\n", "utf-8")
    artifact.metadata.update({"root": ticket["root"], "mlflow_run": ticket["parent"]})


def check(config: LarpoConfig, given: Mapping[str, Any], root: str) -> None:
    """Check what can be known before anything that costs.

    Raises:
        LarpoError: something asked for cannot be.
    """
    rounds, most = config.loop.iterations, given["max_rounds"]
    if rounds > most:
        raise ConfigError(
            f"{rounds} rounds are asked for, but the pipeline was compiled for at most {most}",
            remedy=f"Lower rounds, or compile it with --max-rounds {rounds}",
        )
    if config.demonstrations is not None and config.sft.launch.nodes > 1:
        raise ConfigError("sft trains on one machine, but sft.launch.nodes says more", remedy="Set it to 1")
    for name in ("sample_shards", "rerank_shards"):
        if given[name] < 1:
            raise ConfigError(f"{name} is {given[name]}", remedy="Set it to 1 or more")
    if config.tracking.uri is not None and "@" in config.tracking.uri:
        raise ConfigError(
            "tracking.uri holds a password, which would be written down",
            remedy="Set MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the cluster",
        )
    if is_remote(root) and config.tracking.uri is None and "MLFLOW_TRACKING_URI" not in os.environ:
        raise ConfigError("there is no MLflow server to log to", remedy="Set MLFLOW_TRACKING_URI")
    check_settings(config)
    if is_remote(config.policy):
        fetch(f"{config.policy.rstrip('/')}/config.json", cache_dir())  # the weights are fetched by who needs them
    else:
        from larpo_lib.preflight import check_policy  # loads torch

        check_policy(Path(config.policy), config)


def shares(given: Mapping[str, Any], name: str) -> list[str]:
    """The shares that a step is cut into, i/n each."""
    return [f"{i}/{given[name]}" for i in range(given[name])]


def _resources(given: Mapping[str, Any]) -> dict[str, str]:
    wanted = {"cpu": given["train_cpus"], "memory": given["train_memory"]}
    return {**wanted, given["gpu_type"]: str(given["train_gpus"])} if given["train_gpus"] else wanted


def with_world(given: Mapping[str, Any], root: str) -> LarpoConfig:
    """The settings; the quickstart brings its world along, into the run's root, where no other policy is named."""
    if given["preset"] != QUICKSTART or given.get("policy"):
        return compose(given)
    from larpo_lib.playground.world import world_settings

    world = f"{root}/world"
    _make_world(world, max(0, given["seed"]))
    tree = parse_settings(world_settings(world, given.get("train_objective") or "listmle"))
    return compose({**given, "settings": json.dumps(apply_settings(tree, read_settings(given["settings"])))})


def _make_world(place: str, seed: int) -> None:
    from larpo_lib.playground.world import make_world

    if not is_remote(place):
        make_world(Path(place), seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        make_world(world, seed)
        upload(world / "policy", f"{place}/policy", last="config.json")
        shutil.rmtree(world / "policy")
        upload(world, place, last="world.json")
