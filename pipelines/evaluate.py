"""Evaluates a policy that was made elsewhere, sends it through the gate, and shows it beside another one."""

from typing import Any

from kfp import dsl

from larpo_kubeflow.components.compare import compare
from larpo_kubeflow.components.evaluate import evaluate
from larpo_kubeflow.components.images import Images
from larpo_kubeflow.components.prepare import prepare
from larpo_kubeflow.components.promote import promote
from larpo_kubeflow.components.start_evaluation import start_evaluation
from larpo_kubeflow.pipelines.cluster import Cluster, machine, machine_inputs
from larpo_kubeflow.pipelines.functions import Given, nested
from larpo_kubeflow.pipelines.larpo import closed
from larpo_kubeflow.pipelines.limits import Limits


def evaluate_pipeline(images: Images = Images(), limits: Limits = Limits()) -> Any:  # noqa: B008 - both are frozen
    """The pipeline, for the compiler and for KFP's local runners.

    Args:
        images: where the images are.
        limits: what is set when a pipeline is compiled.
    """
    cluster = Cluster(images, limits)
    judging = _judging(cluster)

    def build(given: Given, told: Given) -> None:
        judging(run=told["run"], **{name: given[name] for name in machine_inputs("evaluate")})

    description = "Evaluate a policy on held-out prompts, and promote it if it is better."
    return closed("evaluate", "evaluation", description, cluster, start_evaluation, build)


def _judging(cluster: Cluster) -> Any:
    measuring = _measuring(cluster)
    inputs: dict[str, type] = {"run": str, **machine_inputs("evaluate")}

    def build(given: Given) -> None:
        run = given["run"]
        measured = measuring(**{name: given[name] for name in inputs})
        promoted = cluster.light(promote(run=run, iteration="end").after(measured))
        cluster.light(compare(run=run).after(promoted))

    return nested("judging", "Measure, promote, compare.", inputs, build)


def _measuring(cluster: Cluster) -> Any:
    def build(given: Given) -> None:
        run, evaluator = given["run"], machine(given, "evaluate")
        prepared = cluster.light(prepare(run=run))
        cluster.heavy(evaluate, evaluator, run=run, iteration="1").after(prepared)
        with dsl.If(prepared.outputs["Output"] == "baseline", name="compared"):
            cluster.heavy(evaluate, evaluator, run=run, iteration="0")

    description = "The policy, and the policy to compare with if there is one."
    return nested("measuring", description, {"run": str, **machine_inputs("evaluate")}, build)
