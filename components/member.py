"""Opens one run of a study."""

from typing import NamedTuple

from kfp import dsl

from components.images import Images


@dsl.component(base_image=Images().reference("evaluator"), install_kfp_package=False)
def member(job: str, root: str, run_id: str, change: str, place: dsl.Output[dsl.Artifact]) -> NamedTuple(  # type: ignore[valid-type]
    "Opened", [("run", str), ("policy", str), ("sample_shards", list), ("rerank_shards", list)]
):
    """Open one run of a study.

    Args:
        job: Identity of the run in Kubeflow.
        root: As given to the pipeline.
        run_id: As given to the pipeline.
        change: The settings that the run changes, as they stand in the grid.
        place: All settings of the run, as they hold.

    Returns:
        The run: root, settings and MLflow run, as JSON; the policy it begins with; and the shares of sampling and of
        reranking.
    """
    from larpo_lib.pipeline import begin, study

    opened = study.member(job=job, root=root, run_id=run_id, change=change, example=place.uri)
    begin.write(opened.run, place)
    return opened.run, opened.policy, opened.sample_shards, opened.rerank_shards
