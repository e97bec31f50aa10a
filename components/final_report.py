"""Runs at the end of every run, also of one that failed."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def final_report(job: str, root: str, run_id: str, text: dsl.Output[dsl.Markdown]):
    """Say how the run ended: its result, or the steps that failed and why. Ends its MLflow run, and cleans up.

    Args:
        text: What it says.
    """
    from larpo_lib.pipeline import closing, kfp_artifacts

    done = closing.close(job=job, root=root, run_id=run_id, example=text.uri)
    kfp_artifacts.text(text, done)
