"""Checks what a study is asked to do, every run of it, before anything that costs."""

from typing import NamedTuple

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def start_study(
    job: str,
    max_rounds: int,
    root: str,
    run_id: str,
    preset: str,
    settings: str,
    grid: str,
    policy: str,
    seed: int,
    prompts_source: str,
    rounds: int,
    sample_shards: int,
    rerank_shards: int,
    train_launcher: str,
    train_gpus: int,
    tracking_experiment: str,
    checked: dsl.Output[dsl.Artifact],
) -> NamedTuple(  # type: ignore[valid-type]
    "Started", [("run", str), ("members", list), ("sample_shards", list), ("rerank_shards", list)]
):
    """Check the whole request, and make an MLflow run for each run of the grid.

    The parameters are those of the pipeline; `job` is the identity of the run in Kubeflow, `max_rounds` what the
    pipeline was compiled for.

    Args:
        checked: All settings, as they hold for what the runs share.

    Returns:
        What the runs share: root, settings and MLflow run as JSON; the numbers of the runs; and the shares of sampling
        and of reranking.
    """
    given = dict(locals())  # every parameter by its name
    del given["checked"]
    from larpo_lib.pipeline import begin, study

    run, members = study.begin(given, checked.uri)
    begin.write(run, checked)
    return run, members, begin.shares(given, "sample_shards"), begin.shares(given, "rerank_shards")
