"""Algorithm 1 as a Kubeflow pipeline: the loop of `larpo run`, each step a task."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from larpo_kubeflow.components.component import POD, Component
from larpo_kubeflow.components.evaluate import evaluate
from larpo_kubeflow.components.final_report import final_report
from larpo_kubeflow.components.images import Images
from larpo_kubeflow.components.prepare import prepare
from larpo_kubeflow.components.promote import promote
from larpo_kubeflow.components.report import report
from larpo_kubeflow.components.sft import sft
from larpo_kubeflow.components.start import start
from larpo_kubeflow.pipelines.cluster import Cluster, machine, machine_inputs
from larpo_kubeflow.pipelines.functions import Given, nested, whole
from larpo_kubeflow.pipelines.limits import Limits
from larpo_kubeflow.pipelines.round import ROUNDS_INPUTS, rounds_pipeline
from larpo_lib.pipeline.form import asked

JOB = dsl.PIPELINE_JOB_ID_PLACEHOLDER

_INPUTS: dict[str, type] = {**ROUNDS_INPUTS, **machine_inputs("sft")}
"""Of the loop. `sft` trains in its pod also where the rounds' training only follows other machines."""


def larpo_pipeline(images: Images = Images(), limits: Limits = Limits()) -> Any:  # noqa: B008 - both are frozen
    """The whole loop as a pipeline, for the compiler and for KFP's local runners.

    Args:
        images: where the images are.
        limits: what is set when a pipeline is compiled.
    """
    cluster = Cluster(images, limits)
    loop = _loop(cluster)

    def build(given: Given, told: Given) -> None:
        machines = {name: given[name] for name in machine_inputs("sample", "rerank", "evaluate")}
        for_training = {f"train_{part}": told[f"train_{part}"] for part in POD}
        for_sft = {f"sft_{part}": given[f"train_{part}"] for part in POD}
        loop(run=told["run"], rounds=told["rounds"], shards=told["shards"], **machines, **for_training, **for_sft)

    description = (
        "LLM alignment as retriever preference optimisation: sample, rerank, build lists, train and evaluate in "
        "each iteration, and promote the result."
    )
    return closed("larpo", "everything", description, cluster, start, build)


def closed(
    form: str,
    group: str,
    description: str,
    cluster: Cluster,
    first: Component,
    build: Callable[[Given, Given], None],
) -> Any:
    """A pipeline that begins with `first` and ends with a report, whatever became of the tasks between them.

    Args:
        form: whose parameters it has; the pipeline is named after it.
        group: name of the group of all tasks but the last.
        description: what it does.
        cluster: what tasks need.
        first: the component that is given the parameters.
        build: adds the other tasks, from the parameters and from what `first` made.
    """

    def build_all(given: Given) -> None:
        last = final_report(job=JOB, root=given["root"], run_id=given["run_id"])  # nothing that another task made
        with dsl.ExitHandler(cluster.last(last).set_display_name("final report"), name=group):
            started = first(job=JOB, **{name: given[name] for name in asked(form)})
            build(given, cluster.light(started, retries=1).outputs)

    return whole("larpo" if form == "larpo" else f"larpo-{form}", form, description, build_all)


def beginning_pipeline(cluster: Cluster) -> Any:
    """The pipeline before the first round, to be used as a task.

    The evaluation of the policy that the loop begins with comes before the rounds, since early stop compares with it.
    """

    def build(given: Given) -> None:
        run = given["run"]
        prepared = cluster.light(prepare(run=run))
        with dsl.If(prepared.outputs["Output"] == "sft", name="demonstrations"):
            cluster.heavy(sft, machine(given, "train"), run=run)

    return nested(
        "beginning",
        "The prompts, and the policy of the first iteration.",
        {"run": str, **machine_inputs("train")},
        build,
    )


def _loop(cluster: Cluster) -> Any:
    beginning, rounds = beginning_pipeline(cluster), rounds_pipeline(cluster)

    def build(given: Given) -> None:
        run = given["run"]
        for_sft = {name: given[name] for name in machine_inputs("train")}
        for_sft |= {f"train_{part}": given[f"sft_{part}"] for part in POD}
        begun = beginning(run=run, **for_sft)
        baseline = cluster.heavy(evaluate, machine(given, "evaluate"), run=run, iteration="0").after(begun)
        looped = rounds(**{name: given[name] for name in ROUNDS_INPUTS}).after(baseline)
        promoted = cluster.light(promote(run=run, iteration="end").after(looped))
        cluster.light(report(run=run).after(promoted))

    return nested(
        "loop",
        "Prepare, evaluate the starting policy, run the iterations, the gate and the report.",
        _INPUTS,
        build,
    )
