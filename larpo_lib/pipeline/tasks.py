"""What a component does: it calls a function of this package, and shows what that made in KFP's artifacts."""

import importlib
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from larpo_lib.pipeline import kfp_artifacts
from larpo_lib.pipeline.run_context import Started


def run_task(task: str, artifacts: Sequence[kfp_artifacts.Artifact], example: str | None = None, **given: Any) -> Any:
    """Call a task's function.

    Args:
        task: module of this package, a colon, the function's name.
        artifacts: KFP's; where the function gives several results, each is shown in an equal share of them in turn.
        example: URI of one of them, for a function that takes it, and what is given as one mapping.
        given: the component's inputs.

    Returns:
        What the component returns.
    """
    module, _, name = task.partition(":")
    function = getattr(importlib.import_module(f"larpo_lib.pipeline.{module}"), name)
    made = function(**given) if example is None else function(given, example)
    if isinstance(made, str):
        return made
    if isinstance(made, Started):
        kfp_artifacts.context(artifacts[0], made.run)
        return astuple(made)
    results = made if isinstance(made, tuple) else (made,)
    each = len(artifacts) // len(results)
    for number, artifact in enumerate(artifacts):
        kfp_artifacts.show(artifact, results[number // each])
    return results[0].next or None
