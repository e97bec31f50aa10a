"""Shows a policy beside the one it is compared with."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def compare(run: str, comparison: dsl.Output[dsl.Markdown], metrics: dsl.Output[dsl.Metrics]):
    """Show the policy beside the one it is compared with, and the gate's decision.

    Args:
        comparison: Both in one table.
        metrics: The policy's.
    """
    from larpo_lib.pipeline import evaluation, kfp_artifacts

    done = evaluation.compare(run)
    kfp_artifacts.text(comparison, done)
    kfp_artifacts.metrics(metrics, done)
