"""Trains the policy on lists."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("trainer"), install_kfp_package=False)
def train(
    run: str, iteration: int, policy: str, lists: str, model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Distil the reranker's order into the policy; on several nodes by a TrainJob.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round.
        policy: URI of the policy to train.
        lists: URI of the lists to train on.
        model: The trained policy.
        metrics: Of the training.

    Returns:
        URI of the trained policy.
    """
    from larpo_lib.pipeline import rounds, shown

    done = rounds.train(run, iteration, policy, lists)
    shown.model(model, done)
    shown.metrics(metrics, done)
    return done.uri
