"""Prepares prompts, held-out prompts and demonstrations."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def prepare(run: str, prompts: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]) -> str:
    """Read the sources and publish prompts, held-out prompts and, where they are set, demonstrations.

    Args:
        prompts: The prompts to train on.
        metrics: How many there are, and how many were dropped.

    Returns:
        `sft` where the policy is to be fine-tuned on demonstrations first, `baseline` where there is a policy to
        compare with, else `ready`.
    """
    from larpo_lib.pipeline import kfp_artifacts, rounds

    done = rounds.prepare(run)
    kfp_artifacts.dataset(prompts, done)
    kfp_artifacts.metrics(metrics, done)
    return done.next
