"""Samples candidates."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("sampler"), install_kfp_package=False)
def sample(run: str, iteration: str, shard: str, gpus: str, memory: str, node_selector: dict, tolerations: list):
    """Sample candidates from the policy, for one share of the round's prompts.

    Args:
        run: Where the run's ticket is, as `start` gave it.
        iteration: Number of the round.
        shard: i/n, the i-th of n shares of the prompts, from 0 on.
        gpus: Of its pod; `memory`, `node_selector` and `tolerations` likewise. The task itself does not read them.
    """
    from larpo_lib.pipeline import rounds

    rounds.sample(run, iteration, shard)
