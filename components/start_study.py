"""Checks what a study is asked to do, every run of it, before anything that costs."""

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
    grid: list,
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
) -> str:
    """Check the whole request, and make an MLflow run for each run of the grid.

    The parameters are those of the pipeline; `job` is the identity of the run in Kubeflow, `max_rounds` what the
    pipeline was compiled for.

    Args:
        checked: All settings, as they hold for what the runs share.

    Returns:
        What the runs share: root, settings and MLflow run as JSON.
    """
    given = dict(locals())  # every parameter by its name
    del given["checked"]
    from larpo_lib.pipeline import begin, study

    run = study.begin(given, checked.uri)
    begin.write(run, checked)
    return run
