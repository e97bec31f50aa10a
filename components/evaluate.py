"""Evaluates a policy."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("sampler"), install_kfp_package=False)
def evaluate(
    run: str, iteration: int, policy: str, evaluation: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Measure a policy on held-out prompts.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round that made the policy; 0: the run began with it.
        policy: URI of the policy.
        evaluation: Every response with its reward.
        metrics: Mean reward, accuracy, Pass@N and the others.

    Returns:
        URI of the evaluation.
    """
    from larpo_lib.pipeline import rounds, shown

    done = rounds.evaluate(run, iteration, policy)
    shown.dataset(evaluation, done)
    shown.metrics(metrics, done)
    return done.uri
