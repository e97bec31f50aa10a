"""Scores and ranks candidates."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("base"), install_kfp_package=False)
def rerank(run: str, iteration: str, shard: str, gpus: str, memory: str, node_selector: dict, tolerations: list):
    """Score and rank candidates, for one share of their prompts."""
    from larpo_lib.pipeline import rounds

    rounds.rerank(run, iteration, shard)
