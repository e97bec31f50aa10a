"""Checks what a run is asked to do, before anything that costs."""

from typing import NamedTuple

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def start(
    job: str,
    root: str,
    run_id: str,
    preset: str,
    settings: str,
    policy: str,
    prompts_source: str,
    rounds: int,
    objective: str,
    k: int,
    temperature: str,
    rewards: str,
    model_name: str,
    shards: int,
    sample_gpus: str,
    sample_memory: str,
    rerank_gpus: str,
    rerank_memory: str,
    train_gpus: str,
    train_memory: str,
    evaluate_gpus: str,
    evaluate_memory: str,
    checked: dsl.Output[dsl.Artifact],
) -> NamedTuple(  # type: ignore[valid-type]
    "Started",
    [("run", str), ("rounds", list), ("shards", list), ("train_gpus", str), ("train_memory", str)],
):
    """Check the whole request, find or make its MLflow run, and write down what the run is to do.

    The parameters are those of the pipeline; `job` is the identity of the run in Kubeflow.

    Args:
        checked: All settings of the run, as they hold.

    Returns:
        Where the run's context is; the numbers of the rounds; the shares of a round's prompts; and what the pod needs
        that trains, which is little where it only follows other machines.
    """
    given = dict(locals())  # every parameter by its name
    del given["checked"]
    import dataclasses

    from larpo_lib.pipeline import begin

    started = begin.begin(given, checked.uri)
    begin.write(started.run, checked)
    return dataclasses.astuple(started)
