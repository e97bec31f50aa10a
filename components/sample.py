"""Samples candidates."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("sampler"), install_kfp_package=False)
def sample(run: str, iteration: int, policy: str, shard: str) -> str:
    """Sample candidates from the policy, for one share of the round's prompts.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round.
        policy: URI of the policy to sample from.
        shard: i/n, the i-th of n shares of the prompts, from 0 on.

    Returns:
        URI of the share's candidates.
    """
    from larpo_lib.pipeline import rounds

    return rounds.sample(run, iteration, policy, shard).uri
