"""Evaluates a policy."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("sampler"), install_kfp_package=False)
def evaluate(
    run: str,
    iteration: str,
    gpus: str,
    memory: str,
    node_selector: dict,
    tolerations: list,
    evaluation: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
):
    """Measure a policy on held-out prompts.

    Args:
        evaluation: Every response with its reward.
        metrics: Mean reward, accuracy, Pass@N and the others.
    """
    from larpo_lib.pipeline import kfp_artifacts, rounds

    done = rounds.evaluate(run, iteration)
    kfp_artifacts.dataset(evaluation, done)
    kfp_artifacts.metrics(metrics, done)
