"""Scores and ranks candidates."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("sampler"), install_kfp_package=False)
def rerank(run: str, iteration: int, candidates: str, shard: str) -> str:
    """Score and rank candidates, for one share of their prompts.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round.
        candidates: URI of the round's candidates.
        shard: i/n, the i-th of n shares of the prompts, from 0 on.

    Returns:
        URI of the share's ranked candidates.
    """
    from larpo_lib.pipeline import rounds

    return rounds.rerank(run, iteration, candidates, shard).uri
