"""Scores and ranks candidates."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("base"), install_kfp_package=False)
def rerank(run: str, iteration: int, shard: str) -> str:
    """Score and rank candidates, for one share of their prompts.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round.
        shard: i/n, the i-th of n shares of the prompts, from 0 on.

    Returns:
        URI of the share's ranked candidates.
    """
    from larpo_lib.pipeline import rounds

    return rounds.rerank(run, iteration, shard).uri
