"""Compiles pipelines to the YAML that Kubeflow takes. Loads neither torch nor vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from components.images import Images
from pipelines.cluster import Limits
from pipelines.evaluate import evaluate_pipeline
from pipelines.larpo import MAX_ROUNDS, larpo_pipeline
from pipelines.study import study_pipeline

Name = Literal["larpo", "evaluate", "study"]


def compile_pipeline(
    name: Name,
    output: Path,
    *,
    max_rounds: int = MAX_ROUNDS,
    images: Images = Images(),  # noqa: B008 - both are frozen
    limits: Limits = Limits(),  # noqa: B008
) -> None:
    """Write a pipeline as YAML. The same arguments give the same bytes.

    Args:
        name: which pipeline.
        output: file to write.
        max_rounds: how many rounds a run may ask for.
        images: where the images are.
        limits: retries and timeouts.
    """
    from kfp import compiler

    compiler.Compiler().compile(pipeline(name, max_rounds=max_rounds, images=images, limits=limits), str(output))


def pipeline(name: Name, *, max_rounds: int, images: Images, limits: Limits) -> Any:
    """A pipeline by its name, as KFP's compiler and local runners take it."""
    if name == "larpo":
        return larpo_pipeline(max_rounds, images, limits)
    return evaluate_pipeline(images, limits) if name == "evaluate" else study_pipeline(max_rounds, images, limits)
