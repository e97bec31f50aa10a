"""Decides what a round does."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def gate(run: str, iteration: str) -> str:
    """Say what a round does: `skip` it, or `train`, or also `evaluate`, or also `promote`.

    Returns:
        skip, train, evaluate or promote.
    """
    from larpo_lib.pipeline import gate as gates

    return gates.gate(run, iteration)
