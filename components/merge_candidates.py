"""Puts the shares of sampled candidates together."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def merge_candidates(run: str, iteration: str, candidates: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]):
    """Put the shares of sampled candidates together.

    Args:
        candidates: All candidates of the round.
        metrics: Of sampling.
    """
    from larpo_lib.pipeline import kfp_artifacts, rounds

    done = rounds.merge_candidates(run, iteration)
    kfp_artifacts.dataset(candidates, done)
    kfp_artifacts.metrics(metrics, done)
