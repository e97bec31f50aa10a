"""Components that do next to nothing, and pipelines of them as the backend is given them."""

from collections.abc import Callable
from typing import Any

from backend_outcome import Outcome
from compiled_ir import Compiled
from google.protobuf.json_format import MessageToDict
from kfp import dsl

Run = Callable[..., Outcome]
"""Runs a pipeline, or a function as one: `faults` of its pods, the backend's `version` and `seed`, its arguments."""

component = dsl.component(base_image="registry.example/small:1", install_kfp_package=False)
"""Of an image that nothing is looked for in."""


def compiled(pipeline: Callable[..., Any]) -> Compiled:
    """A function as a pipeline, compiled by KFP; its name is the function's."""
    made = dsl.pipeline(name=pipeline.__name__.replace("_", "-"))(pipeline)
    platform = MessageToDict(made.platform_spec).get("platforms", {}).get("kubernetes", {})
    return Compiled(MessageToDict(made.pipeline_spec), platform.get("deploymentSpec", {}).get("executors", {}))
