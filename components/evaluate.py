"""Evaluates a policy."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("sampler"), install_kfp_package=False)
def evaluate(
    run: str,
    iteration: str,
    gpus: str,
    memory: str,
    node_selector: dict,
    tolerations: list,
    evaluation: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
):
    """Measure a policy on held-out prompts.

    Args:
        run: Where the run's ticket is, as `start` gave it.
        iteration: Number of the round that made the policy; 0: the run began with it.
        gpus: Of its pod; `memory`, `node_selector` and `tolerations` likewise. The task itself does not read them.
        evaluation: Every response with its reward.
        metrics: Mean reward, accuracy, Pass@N and the others.
    """
    from larpo_lib.pipeline import rounds, shown

    done = rounds.evaluate(run, iteration)
    shown.dataset(evaluation, done)
    shown.metrics(metrics, done)
