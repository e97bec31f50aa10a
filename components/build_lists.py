"""Builds training lists."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def build_lists(
    run: str, iteration: int, ranked: str, lists: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Build training lists from the ranked candidates of this round and of those that memory keeps.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        iteration: Number of the round.
        ranked: URI of the round's ranked candidates.
        lists: The lists.
        metrics: How many lists there are, and how many were dropped.

    Returns:
        URI of the lists.
    """
    from larpo_lib.pipeline import rounds, shown

    done = rounds.build_lists(run, iteration, ranked)
    shown.dataset(lists, done)
    shown.metrics(metrics, done)
    return done.uri
