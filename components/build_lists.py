"""Puts the shares of ranked candidates together, and builds training lists."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def build_lists(
    run: str,
    iteration: str,
    ranked: dsl.Output[dsl.Dataset],
    rewards: dsl.Output[dsl.Metrics],
    lists: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
):
    """Put the shares of ranked candidates together; build training lists from them and from those that memory keeps.

    Args:
        ranked: All ranked candidates of the round.
        rewards: Of reranking.
        lists: The lists.
        metrics: How many lists there are, and how many were dropped.
    """
    from larpo_lib.pipeline import kfp_artifacts, rounds

    merged, built = rounds.build_lists(run, iteration)
    kfp_artifacts.dataset(ranked, merged)
    kfp_artifacts.metrics(rewards, merged)
    kfp_artifacts.dataset(lists, built)
    kfp_artifacts.metrics(metrics, built)
