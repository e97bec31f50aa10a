"""Checks what a study is asked to do, every run of it, before anything that costs."""

from typing import NamedTuple

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def start_study(
    job: str,
    root: str,
    run_id: str,
    preset: str,
    settings: str,
    grid: list,
    policy: str,
    prompts_source: str,
    rounds: int,
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
    [("run", str), ("members", list), ("rounds", list), ("shards", list)],
):
    """Check the whole request, and make an MLflow run for each run of the grid.

    The parameters are those of the pipeline; `job` is the identity of the run in Kubeflow.

    Args:
        checked: All settings, as they hold for what the runs share.

    Returns:
        Where the context is of what the runs share, and where theirs are; the numbers of the rounds; and the shares of
        a round's prompts.
    """
    given = dict(locals())  # every parameter by its name
    del given["checked"]
    import dataclasses

    from larpo_lib.pipeline import begin, study

    started = study.begin(given, checked.uri)
    begin.write(started.run, checked)
    return dataclasses.astuple(started)
