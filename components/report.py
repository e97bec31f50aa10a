"""Writes the report."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def report(run: str, page: dsl.Output[dsl.HTML], drops: dsl.Output[dsl.Markdown], metrics: dsl.Output[dsl.Metrics]):
    """Write the report of the run.

    Args:
        page: The report with its figures, in one HTML page.
        drops: What every step dropped.
        metrics: How many prompts got better and worse.
    """
    from larpo_lib.pipeline import kfp_artifacts, results

    done = results.report(run)
    kfp_artifacts.page(page, done)
    kfp_artifacts.text(drops, done)
    kfp_artifacts.metrics(metrics, done)
