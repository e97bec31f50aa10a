"""Decides what a round does."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def gate(run: str, iteration: str) -> str:
    """Say what a round does: `skip` it, or `train`, or also `evaluate`, or also `promote`.

    Args:
        run: Where the run's ticket is, as `start` gave it.
        iteration: Number of the round, from 1 on.

    Returns:
        skip, train, evaluate or promote.
    """
    from larpo_lib.pipeline import gate as gates

    return gates.gate(run, iteration)
