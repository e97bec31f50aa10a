"""Puts the runs of a study in one table."""

from kfp import dsl

from larpo_kubeflow.components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def study_table(run: str, table: dsl.Output[dsl.Markdown], metrics: dsl.Output[dsl.Metrics]):
    """Put all runs of a study in one table.

    Args:
        table: Settings and metrics of every run.
        metrics: Mean reward of every run.
    """
    from larpo_lib.pipeline import kfp_artifacts, study

    done = study.table(run)
    kfp_artifacts.text(table, done)
    kfp_artifacts.metrics(metrics, done)
