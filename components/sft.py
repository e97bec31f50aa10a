"""Supervised fine-tuning on demonstrations."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("trainer"), install_kfp_package=False)
def sft(
    run: str,
    gpus: str,
    memory: str,
    node_selector: dict,
    tolerations: list,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
):
    """Fine-tune the policy on demonstrations.

    Args:
        model: The policy the loop starts from.
        metrics: Of the training.
    """
    from larpo_lib.pipeline import kfp_artifacts, rounds

    done = rounds.sft(run)
    kfp_artifacts.model(model, done)
    kfp_artifacts.metrics(metrics, done)
