"""The gate to the model registry."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def promote(
    run: str, iteration: int, policy: str, promotion: dsl.Output[dsl.Markdown], metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Register a policy, and make it the champion if it beats the one before it.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round whose policy it is; 0: the policy that is the result of the run.
        policy: URI of the last policy; the step waits for it.
        promotion: The decision and the reason.
        metrics: Probability and size of the gain.

    Returns:
        URI of the promotion.
    """
    from larpo_lib.pipeline import results, shown

    done = results.promote(run, iteration, policy)
    shown.text(promotion, done)
    shown.metrics(metrics, done)
    return done.uri
