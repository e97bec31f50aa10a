"""Puts the shares of sampled candidates together."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def merge_candidates(
    run: str, iteration: int, shards: list, candidates: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Put the shares of sampled candidates together.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round.
        shards: URIs of the shares.
        candidates: All candidates of the round.
        metrics: Of sampling.

    Returns:
        URI of the candidates.
    """
    from larpo_lib.pipeline import rounds, shown

    done = rounds.merge_candidates(run, iteration, shards)
    shown.dataset(candidates, done)
    shown.metrics(metrics, done)
    return done.uri
