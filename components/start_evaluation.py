"""Checks what an evaluation is asked to do, before anything that costs."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def start_evaluation(
    job: str,
    root: str,
    run_id: str,
    preset: str,
    settings: str,
    policy: str,
    baseline: str,
    prompts_source: str,
    model_name: str,
    evaluate_gpus: str,
    evaluate_memory: str,
    checked: dsl.Output[dsl.Artifact],
) -> str:
    """Check the whole request, find or make its MLflow run, and write down what is to be done.

    The parameters are those of the pipeline; `job` is the identity of the run in Kubeflow.

    Args:
        checked: All settings, as they hold.

    Returns:
        Where the context is.
    """
    given = dict(locals())  # every parameter by its name
    del given["checked"]
    from larpo_lib.pipeline import begin, evaluation

    run = evaluation.begin(given, checked.uri)
    begin.write(run, checked)
    return run
