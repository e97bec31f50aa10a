"""Fills the objects in which KFP shows artifacts: datasets, models, metrics, pages, texts."""

import json
from collections.abc import Callable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from larpo_lib.pipeline.execute import StepResult
from larpo_lib.pipeline.run_context import RunContext


class Artifact(Protocol):
    """An artifact of KFP."""

    uri: str
    path: str
    metadata: MutableMapping[str, Any]


def show(artifact: Any, result: StepResult) -> None:
    """Show a step's result in an artifact, as its kind can."""
    _SHOWN[artifact.schema_title](artifact, result)


def context(artifact: Artifact, run: str) -> None:
    """Show the context of a run."""
    found = RunContext.at(run)
    text = json.dumps(found.model_dump(mode="json"), indent=2, sort_keys=True)
    Path(artifact.path).write_text(text + "\n", "utf-8")
    artifact.metadata.update({"root": found.root, "mlflow_run": found.parent})


def _point_to(artifact: Artifact, done: StepResult) -> None:
    """Point to what was published.

    KFP stores artifacts below the folder of the run only. What lies elsewhere is pointed to by a small file.
    """
    artifact.metadata.update(done.metadata)
    if done.shown == "" or (done.shown is not None and done.uri.startswith(f"{done.shown}/")):
        artifact.uri = done.uri
        return
    Path(artifact.path).write_text(json.dumps(done.metadata, indent=2, sort_keys=True) + "\n", "utf-8")


def _numbers(artifact: Any, done: StepResult) -> None:
    """Show the step's metrics, those that are defined."""
    for name, value in done.metrics.items():
        if value is not None:
            artifact.log_metric(name, float(value))


def _text(kind: str, artifact: Artifact, done: StepResult) -> None:
    """Show what the step says as a page or in Markdown."""
    Path(artifact.path).write_text(done.texts[kind], "utf-8")
    artifact.metadata.update(done.metadata)


_SHOWN: dict[str, Callable[[Any, StepResult], None]] = {
    "system.Dataset": _point_to,
    "system.Model": _point_to,
    "system.Metrics": _numbers,
    "system.HTML": partial(_text, "html"),
    "system.Markdown": partial(_text, "markdown"),
}
"""By KFP's name of an artifact's kind."""
