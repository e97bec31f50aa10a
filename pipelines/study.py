"""A grid of settings, a run for each: from the same policy, on the same prompts, in one table.

Every run is a whole loop of its own. Runs could share candidates for as long as they have the same policy, which is the
first round only; from the second on, what a setting does to the candidates is part of what it does.
"""

from typing import Any

from kfp import dsl

from larpo_kubeflow.components.evaluate import evaluate
from larpo_kubeflow.components.images import Images
from larpo_kubeflow.components.start_study import start_study
from larpo_kubeflow.components.study_table import study_table
from larpo_kubeflow.pipelines.cluster import Cluster, machine, machine_inputs
from larpo_kubeflow.pipelines.functions import Given, nested
from larpo_kubeflow.pipelines.larpo import beginning_pipeline, closed
from larpo_kubeflow.pipelines.limits import Limits
from larpo_kubeflow.pipelines.round import ROUND_KINDS, ROUNDS_INPUTS, rounds_pipeline

_INPUTS: dict[str, type] = {**ROUNDS_INPUTS, "members": list}


def study_pipeline(images: Images = Images(), limits: Limits = Limits()) -> Any:  # noqa: B008 - both are frozen
    """The pipeline, for the compiler and for KFP's local runners.

    Args:
        images: where the images are.
        limits: what is set when a pipeline is compiled.
    """
    cluster = Cluster(images, limits)
    comparing = _comparing(cluster)

    def build(given: Given, told: Given) -> None:
        machines = {name: given[name] for name in machine_inputs(*ROUND_KINDS)}
        comparing(**{name: told[name] for name in ("run", "members", "rounds", "shards")}, **machines)

    description = "Compare settings: one run of the loop for each, with results in one table."
    return closed("study", "study", description, cluster, start_study, build)


def _comparing(cluster: Cluster) -> Any:
    beginning, members = beginning_pipeline(cluster), _members(cluster)

    def build(given: Given) -> None:
        run = given["run"]
        begun = beginning(run=run, **{name: given[name] for name in machine_inputs("train")})
        baseline = cluster.heavy(evaluate, machine(given, "evaluate"), run=run, iteration="0").after(begun)
        looped = members(**{name: given[name] for name in _INPUTS if name != "run"}).after(baseline)
        cluster.light(study_table(run=run).after(looped))

    return nested("comparing", "The shared preparation, the runs and their table.", _INPUTS, build)


def _members(cluster: Cluster) -> Any:
    rounds = rounds_pipeline(cluster)

    def build(given: Given) -> None:
        with dsl.ParallelFor(items=given["members"], name="members") as run:
            rounds(run=run, **{name: given[name] for name in ROUNDS_INPUTS if name != "run"})

    inputs = {name: kind for name, kind in _INPUTS.items() if name != "run"}
    return nested("members", "The iterations of every run.", inputs, build)
