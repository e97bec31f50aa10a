"""Supervised fine-tuning on demonstrations."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("trainer"), install_kfp_package=False)
def sft(run: str, model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics]) -> str:
    """Fine-tune the policy on demonstrations.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        model: The policy the loop starts from.
        metrics: Of the training.

    Returns:
        URI of the policy.
    """
    from larpo_lib.pipeline import rounds, shown

    done = rounds.sft(run)
    shown.model(model, done)
    shown.metrics(metrics, done)
    return done.uri
