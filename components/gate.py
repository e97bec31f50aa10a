"""Decides what a round does."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def gate(run: str, iteration: int, policy: str) -> str:
    """Say what a round does: `skip` it, or `train`, or also `evaluate`, or also `promote`.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round, from 1 on.
        policy: URI of the policy it would begin with; the round waits for it.

    Returns:
        skip, train, evaluate or promote.
    """
    from larpo_lib.pipeline import rounds

    return rounds.gate(run, iteration, policy)
