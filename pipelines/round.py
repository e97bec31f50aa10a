"""The rounds of the loop: sample, rerank, build lists, train; evaluate and promote where the gate says so.

The rounds are a loop over a list that is known at run time, one after the other. Nothing is handed from task to task
but where the run's context is, and the number of the round: what a step reads it finds in the run's root. A task waits
for another one, or for a nested pipeline; nothing is read out of a loop or a condition.
"""

from typing import Any

from kfp import dsl

from larpo_kubeflow.components.build_lists import build_lists
from larpo_kubeflow.components.component import Component
from larpo_kubeflow.components.evaluate import evaluate
from larpo_kubeflow.components.gate import gate
from larpo_kubeflow.components.merge_candidates import merge_candidates
from larpo_kubeflow.components.promote import promote
from larpo_kubeflow.components.rerank import rerank
from larpo_kubeflow.components.sample import sample
from larpo_kubeflow.components.train import train
from larpo_kubeflow.pipelines.cluster import Cluster, machine, machine_inputs
from larpo_kubeflow.pipelines.functions import Given, nested

ROUND_KINDS = ("sample", "rerank", "train", "evaluate")
ROUNDS_INPUTS: dict[str, type] = {"run": str, "rounds": list, "shards": list, **machine_inputs(*ROUND_KINDS)}


def rounds_pipeline(cluster: Cluster) -> Any:
    """The pipeline of all rounds, to be used as a task."""
    sampling = _shares(cluster, "sample", sample, "Sample, one shard per pod.")
    reranking = _shares(cluster, "rerank", rerank, "Score and rank, one shard per pod.")

    def build(given: Given) -> None:
        run = given["run"]
        with dsl.ParallelFor(items=given["rounds"], parallelism=1, name="round") as iteration:
            due = cluster.light(gate(run=run, iteration=iteration))
            with dsl.If(due.output != "skip", name="active"):
                at: dict[str, Any] = {"run": run, "iteration": iteration}
                sampled = sampling(**at, shards=given["shards"], **_only(given, "sample"))
                candidates = cluster.light(merge_candidates(**at).after(sampled))
                ranked = reranking(**at, shards=given["shards"], **_only(given, "rerank")).after(candidates)
                lists = cluster.light(build_lists(**at).after(ranked))
                trained = cluster.heavy(train, machine(given, "train"), **at).after(lists)
                with dsl.If(due.output != "train", name="measured"):
                    evaluated = cluster.heavy(evaluate, machine(given, "evaluate"), **at).after(trained)
                    with dsl.If(due.output == "promote", name="promoted"):
                        cluster.light(promote(**at).after(evaluated))

    return nested("rounds", "The iterations, one after the other, each after its gate.", ROUNDS_INPUTS, build)


def _only(given: Given, kind: str) -> dict[str, Any]:
    """What a nested pipeline with tasks of one kind is given of the machines."""
    return {name: given[name] for name in machine_inputs(kind)}


def _shares(cluster: Cluster, kind: str, component: Component, description: str) -> Any:
    """A task for each share of a round's prompts. It has no outputs: it is there to be waited for."""

    def build(given: Given) -> None:
        with dsl.ParallelFor(items=given["shards"], name="share") as shard:
            at = {"run": given["run"], "iteration": given["iteration"], "shard": shard}
            cluster.heavy(component, machine(given, kind), **at)

    inputs: dict[str, type] = {"run": str, "iteration": str, "shards": list, **machine_inputs(kind)}
    return nested(f"{kind}-shares", description, inputs, build)
