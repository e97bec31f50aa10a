"""The tasks of compiled pipelines that run in pods, for tests of what they are given."""

from collections.abc import Iterator
from typing import Any

import compiled_ir as ir
from compiled_ir import Compiled
from ir_rules import At, everything


def pods(pipeline: Compiled) -> Iterator[tuple[str, At, dict[str, Any]]]:
    """The tasks that run in a pod of their own: name of the component's function, the task, its container."""
    for at in everything(pipeline):
        if "executorLabel" in at.component:
            container = pipeline.container(at.component["executorLabel"])
            args = container["args"]
            yield args[args.index("--function_to_execute") + 1].replace("_", "-"), at, container


def origin(at: At, name: str) -> str:
    """The parameter of the whole pipeline, or the output of a task, that an input of a task comes from."""
    source = ir.given(at.task)[name]
    if "taskOutputParameter" in source:
        made = source["taskOutputParameter"]
        return f"{made['producerTask']}.{made['outputParameterKey']}"
    outer = str(source["componentInputParameter"])
    if at.parent == "root":
        return outer
    (around,) = [one for one in everything(at.compiled) if one.task["componentRef"]["name"] == at.parent]
    return origin(around, outer)
