"""Opens one run of a study."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def member(run: str, number: str, policy: str) -> str:
    """Open one run of a study.

    Args:
        run: What the runs share, as `start` gave it.
        number: Of the run in the grid, from 1 on.
        policy: URI of the policy that all runs begin with; the step waits for it.

    Returns:
        The run: root, settings and MLflow run, as JSON.
    """
    from larpo_lib.pipeline import study

    return study.member(run, int(number), policy)
