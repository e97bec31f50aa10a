"""The first component: checks the whole request, before anything that costs, and writes the run's context."""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from larpo_lib import logs
from larpo_lib.checks import check_settings
from larpo_lib.config import LarpoConfig, apply_settings, parse_settings
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.run_benchmarks import check_benchmark_files
from larpo_lib.functions import functions_of
from larpo_lib.models.hub import HubModel, describe
from larpo_lib.pipeline import files, variables
from larpo_lib.pipeline.earlier_results import check_earlier_results
from larpo_lib.pipeline.form import MEMORY
from larpo_lib.pipeline.functions import check_code_size
from larpo_lib.pipeline.journal import Journal
from larpo_lib.pipeline.parameters import QUICKSTART, check_machines, compose, gpu_count, read_settings
from larpo_lib.pipeline.pod_cache import use_writable_cache
from larpo_lib.pipeline.retries import with_retries
from larpo_lib.pipeline.run_context import Place, RunContext, Started
from larpo_lib.pipeline.workflow_size import check_workflow_size
from larpo_lib.plan import Plan
from larpo_lib.redaction import redact
from larpo_lib.rewards.rerankers.judge.templates import template_of
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig
from larpo_lib.run_files import MODELS, models_of, pin_models
from larpo_lib.storage import cache_dir, fetch, is_remote, upload
from larpo_lib.targets import check_syntax

StartedT = TypeVar("StartedT", bound=Started)


@dataclass(frozen=True)
class StartedLoop(Started):
    """What the tasks of a loop are told.

    Attributes:
        rounds: numbers of the rounds.
        shards: the shards of an iteration's prompts, i/n each.
        train_gpus: GPUs of the pod that trains in a round: none where it only follows other machines; `train_memory`
            likewise. The one of `sft` never follows.
    """

    rounds: list[str]
    shards: list[str]
    train_gpus: str
    train_memory: str


def first_task(
    work: Callable[[Mapping[str, Any], Place], StartedT],
) -> Callable[[Mapping[str, Any], str], StartedT]:
    """Make a pipeline's first task of its work, which is given the parameters and the run's place.

    The task is given the parameters of the pipeline by name, with `job`, and the URI of one of KFP's artifacts of this
    run. It is noted in the run's journal, and raises a LarpoError where something asked for cannot be.
    """

    @functools.wraps(work)
    def task(given: Mapping[str, Any], example: str) -> StartedT:
        logs.set_up()
        use_writable_cache()
        place = Place.find(given["root"], given["run_id"], given["job"], example)
        with Journal(place.root, given["job"]).step("start"):
            return with_retries(lambda: work(given, place))

    return task


@first_task
def begin(given: Mapping[str, Any], place: Place) -> StartedLoop:
    """Check the request, find or make its MLflow run, and leave the context in the run's root."""
    config = pinned(with_world(given, place.root), place.root)
    check(config, given, place.root)
    rounds = config.loop.iterations
    check_workflow_size(rounds, given["shards"], check_code_size(read_settings(given["settings"])))
    check_earlier_results(Plan(config, place.root), given["shards"])
    follows = config.train.launch.nodes > 1
    resources = _resources(given) if follows else {}
    return StartedLoop(
        RunContext.begin(given["job"], place, config, config.name, resources=resources, shards=given["shards"]),
        numbers(rounds),
        shard_names(given["shards"]),
        train_gpus="0" if follows else given["train_gpus"],
        train_memory="2Gi" if follows else given["train_memory"],
    )


def check(config: LarpoConfig, given: Mapping[str, Any], root: str) -> None:
    """Check what can be known before anything that costs.

    Raises:
        LarpoError: something asked for cannot be.
    """
    if config.demonstrations is not None and config.sft.launch.nodes > 1:
        raise ConfigError("sft trains on one machine, but sft.launch.nodes is greater than 1", remedy="Set it to 1")
    if given.get("shards", 1) < 1:
        raise ConfigError(f"shards is {given['shards']}", remedy="Set it to 1 or more")
    check_machines(given)
    if config.tracking.uri is not None and redact(config.tracking.uri) != config.tracking.uri:
        raise ConfigError(
            "tracking.uri contains a password, which would be written to files",
            remedy="Set MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the cluster",
        )
    if is_remote(root) and config.tracking.uri is None and "MLFLOW_TRACKING_URI" not in os.environ:
        raise ConfigError("no MLflow server is set", remedy="Set MLFLOW_TRACKING_URI")
    _check_functions(config)
    _check_templates(config)
    check_settings(config)
    check_benchmark_files(config)
    _check_models(config)


def pinned(config: LarpoConfig, root: str) -> LarpoConfig:
    """The settings with each model of the hub at the commit that it had when a run in this root first began.

    Raises:
        ModelError: the hub has no such model, or it cannot be reached.
    """
    there = root in files.directories(root, MODELS)
    known: dict[str, str] = files.read(root, MODELS) if there else {}
    config, models = pin_models(config, known)
    if not models.items() <= known.items():
        files.write(root, MODELS, {**known, **models})
    return config


def _check_models(config: LarpoConfig) -> None:
    """Check what can be known of models without their weights, which are fetched by who needs them."""
    for model in filter(None, map(HubModel.parse, models_of(config))):
        describe(model)
    if is_remote(config.policy):
        fetch(f"{config.policy.rstrip('/')}/config.json", cache_dir())
    elif HubModel.parse(config.policy) is None:
        from larpo_lib.preflight import check_policy  # loads torch

        check_policy(Path(config.policy), config)


def _check_functions(config: LarpoConfig) -> None:
    """Refuse a user's function that no task of this image would find."""
    for section in (config.sample, config.rerank, config.lists, config.train, config.evaluate):
        for function in functions_of(section).values():
            try:
                file = function.source()
            except ConfigError as error:
                raise ConfigError(
                    error.problem,
                    remedy="Give an s3:// URI, start the run with `larpo submit` where the file is, or have the file or"
                    " its package in the image",
                ) from error
            check_syntax(file)


def _check_templates(config: LarpoConfig) -> None:
    """Refuse a judge's template that no task of this image would find."""
    for part in (part for one in (config.rerank.reranker, *config.evaluate.rerankers.values()) for part in one.parts()):
        if isinstance(part, LlmJudgeRerankerConfig):
            try:
                template_of(part.mode, part.template)
            except ConfigError as error:
                remedy = "Give the text of the template itself, or start the run with `larpo submit` where the file is"
                raise ConfigError(error.problem, remedy=remedy) from error


def shard_names(count: int) -> list[str]:
    """The shares that a round's prompts are cut into, i/n each."""
    return [f"{i}/{count}" for i in range(count)]


def numbers(rounds: int) -> list[str]:
    """The rounds, as Kubeflow takes them for a loop."""
    return [str(i) for i in range(1, rounds + 1)]


def _resources(given: Mapping[str, Any]) -> dict[str, str]:
    """Of each machine that trains, where there are several. What is left at its default is the runtime's."""
    gpus, memory = gpu_count(given, "train_gpus"), given["train_memory"]
    asked = {} if memory == MEMORY else {"memory": memory}
    return {**asked, os.environ.get(variables.GPU_TYPE, variables.NVIDIA_GPU): str(gpus)} if gpus else asked


def with_world(given: Mapping[str, Any], root: str, pipeline: str = "larpo") -> LarpoConfig:
    """The settings; the quickstart brings its world along, into the run's root, where no other policy is named."""
    settings = read_settings(given["settings"])
    if given["preset"] != QUICKSTART or given["policy"] or "policy" in settings:
        return compose(given, pipeline=pipeline)
    from larpo_lib.playground.world import world_settings

    world = f"{root}/world"
    _make_world(world, settings.get("seed", 0))
    tree = parse_settings(world_settings(world, given.get("objective") or "listmle"))
    return compose({**given, "settings": json.dumps(apply_settings(tree, settings))}, pipeline=pipeline)


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
