"""Writes the report."""

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def report(
    run: str,
    promotion: str,
    page: dsl.Output[dsl.HTML],
    drops: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Write the report of the run.

    Args:
        run: What `start` gave: root, settings and MLflow run, as JSON.
        promotion: URI of the promotion.
        page: The report with its figures, in one HTML page.
        drops: What every step dropped.
        metrics: How many prompts got better and worse.

    Returns:
        URI of the report.
    """
    from larpo_lib.pipeline import results, shown

    done = results.report(run, promotion)
    shown.page(page, done)
    shown.text(drops, done)
    shown.metrics(metrics, done)
    return done.uri
