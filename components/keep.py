"""Passes a policy on."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def keep(policy: str) -> str:
    """Pass a policy on where nothing is done with it.

    Args:
        policy: Its URI.

    Returns:
        The same URI.
    """
    return policy
