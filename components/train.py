"""Trains the policy on lists."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("trainer"), install_kfp_package=False)
def train(
    run: str,
    iteration: str,
    gpus: str,
    memory: str,
    node_selector: dict,
    tolerations: list,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
):
    """Distil the reranker's order into the policy; on several nodes by a TrainJob.

    Args:
        model: The trained policy.
        metrics: Of the training.
    """
    from larpo_lib.pipeline import kfp_artifacts, rounds

    done = rounds.train(run, iteration)
    kfp_artifacts.model(model, done)
    kfp_artifacts.metrics(metrics, done)
