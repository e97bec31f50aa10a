"""Puts the shares of ranked candidates together."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def merge_ranked(
    run: str, iteration: int, shards: list, ranked: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Put the shares of ranked candidates together.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round.
        shards: URIs of the shares.
        ranked: All ranked candidates of the round.
        metrics: Of reranking.

    Returns:
        URI of the ranked candidates.
    """
    from larpo_lib.pipeline import rounds, shown

    done = rounds.merge_ranked(run, iteration, shards)
    shown.dataset(ranked, done)
    shown.metrics(metrics, done)
    return done.uri
