"""Compiles pipelines to the YAML that Kubeflow takes. Loads neither torch nor vLLM."""

from pathlib import Path
from typing import Any

from larpo_kubeflow.components.images import Images
from larpo_kubeflow.pipelines.evaluate import evaluate_pipeline
from larpo_kubeflow.pipelines.larpo import larpo_pipeline
from larpo_kubeflow.pipelines.limits import Limits
from larpo_kubeflow.pipelines.study import study_pipeline
from larpo_lib.pipeline.form import PipelineName


def compile_pipeline(
    name: PipelineName,
    output: Path,
    *,
    images: Images = Images(),  # noqa: B008 - both are frozen
    limits: Limits = Limits(),  # noqa: B008
) -> None:
    """Write a pipeline as YAML. The same arguments give the same bytes.

    Args:
        name: which pipeline.
        output: file to write.
        images: where the images are.
        limits: what Kubeflow takes as constants only.
    """
    from kfp import compiler

    compiler.Compiler().compile(pipeline(name, images, limits), str(output))


def pipeline(name: PipelineName, images: Images, limits: Limits) -> Any:
    """A pipeline by its name, as KFP's compiler and local runners take it."""
    return {"larpo": larpo_pipeline, "evaluate": evaluate_pipeline, "study": study_pipeline}[name](images, limits)
