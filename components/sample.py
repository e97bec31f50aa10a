"""Samples candidates."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("sampler"), install_kfp_package=False)
def sample(run: str, iteration: str, shard: str, gpus: str, memory: str, node_selector: dict, tolerations: list):
    """Sample candidates from the policy, for one share of the round's prompts."""
    from larpo_lib.pipeline import rounds

    rounds.sample(run, iteration, shard)
