"""Checks what a run is asked to do, before anything that costs."""

from typing import NamedTuple

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def start(
    job: str,
    max_rounds: int,
    root: str,
    run_id: str,
    preset: str,
    settings: str,
    policy: str,
    seed: int,
    prompts_source: str,
    prompts_limit: int,
    prompts_heldout: int,
    evaluation_prompts_source: str,
    demonstrations_source: str,
    rounds: int,
    early_stop_metric: str,
    early_stop_patience: int,
    early_stop_min_delta: float,
    sample_shards: int,
    sample_sampler: str,
    sample_k: int,
    sample_temperature: str,
    sample_max_new_tokens: int,
    sample_prompts_per_round: int,
    rerank_shards: int,
    rerank_reranker: str,
    rerank_model: str,
    lists_memory: str,
    lists_selection: str,
    train_objective: str,
    train_beta: float,
    train_learning_rate: float,
    train_epochs: int,
    train_batch_size: int,
    train_launcher: str,
    train_nodes: int,
    train_gpus: int,
    train_cpus: str,
    train_memory: str,
    gpu_type: str,
    evaluate_when: str,
    evaluate_n: int,
    promote_when: str,
    promote_model_name: str,
    tracking_experiment: str,
    checked: dsl.Output[dsl.Artifact],
) -> NamedTuple(  # type: ignore[valid-type]
    "Started",
    [
        ("run", str),
        ("sample_shards", list),
        ("rerank_shards", list),
        ("train_gpus", int),
        ("train_cpus", str),
        ("train_memory", str),
    ],
):
    """Check the whole request, find or make its MLflow run, and write down what the run is to do.

    The parameters are those of the pipeline; `job` is the identity of the run in Kubeflow, `max_rounds` what the
    pipeline was compiled for.

    Args:
        checked: All settings of the run, as they hold.

    Returns:
        The run: root, settings and MLflow run as JSON; the shares of sampling and of reranking; and what the pod needs
        that trains, which is little where it only follows other machines.
    """
    given = dict(locals())  # every parameter by its name
    del given["checked"]
    import dataclasses

    from larpo_lib.pipeline import begin

    started = begin.begin(given, checked.uri)
    begin.write(started.run, checked)
    return dataclasses.astuple(started)
