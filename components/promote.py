"""The gate to the model registry."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def promote(run: str, iteration: str, promotion: dsl.Output[dsl.Markdown], metrics: dsl.Output[dsl.Metrics]):
    """Register a policy, and make it the champion if it beats the one before it.

    Args:
        promotion: The decision and the reason.
        metrics: Probability and size of the gain.
    """
    from larpo_lib.pipeline import kfp_artifacts, results

    done = results.promote(run, iteration)
    kfp_artifacts.text(promotion, done)
    kfp_artifacts.metrics(metrics, done)
