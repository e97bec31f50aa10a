"""Makes pipelines whose inputs are known as data: from a form, or from lists of what tasks need."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl

from larpo_lib.pipeline.form import FORMS

Given = Mapping[str, Any]
"""Inputs by name, as KFP's channels."""

_NONE = inspect.Parameter.empty


def nested(
    name: str, description: str, inputs: Mapping[str, type], build: Callable[[Given], None]
) -> Callable[..., dsl.PipelineTask]:
    """A pipeline to be used as a task, with names of components of its own; never taken from Kubeflow's cache.

    Args:
        name: of the pipeline; no other one that is nested has it.
        description: what it does.
        inputs: their types by their names.
        build: adds the tasks.
    """
    parameters = [_parameter(input_, kind, _NONE) for input_, kind in inputs.items()]
    pipeline = distinct(_pipeline(name, description, parameters, description, build))
    return lambda **given: pipeline(**given).set_caching_options(False)


def whole(name: str, form: str, description: str, build: Callable[[Given], None]) -> Any:
    """A pipeline to be submitted, whose parameters are those of a form.

    Args:
        name: of the pipeline.
        form: name of the form.
        description: what it does.
        build: adds the tasks.
    """
    fields = FORMS[form]
    parameters = [_parameter(field.name, field.kind, field.default) for field in fields]
    meanings = "".join(f"    {field.name}: {field.meaning}\n" for field in fields)
    return _pipeline(name, description, parameters, f"{description}\n\nArgs:\n{meanings}", build)


def distinct(pipeline: Any) -> Any:
    """Mark the names of a nested pipeline's components and executors as its own; gives the pipeline back.

    KFP's compiler copies them into the pipeline around it and numbers those that are there already, one after the other
    in an order that changes from process to process. A `keep` that becomes `keep-2` then meets the `keep-2` that was
    there before: two tasks share an executor, with the image and the machine of one of them. Behind a mark that is no
    number, a numbered name is new whatever the order.
    """
    graph = pipeline.component_spec.implementation.graph
    mark = f"-of-{pipeline.name}"
    executors = graph.deployment_spec.fields["executors"].struct_value.fields
    maps = [graph.components, executors]
    maps += [part.deployment_spec.executors for part in pipeline.component_spec.platform_spec.platforms.values()]
    for held in maps:
        for name in sorted(held):
            held[name + mark].CopyFrom(held[name])
            del held[name]
    for component in graph.components.values():
        if component.executor_label:
            component.executor_label += mark
    for dag in [graph.root.dag, *(component.dag for component in graph.components.values())]:
        for task in dag.tasks.values():
            task.component_ref.name += mark
    return pipeline


def _parameter(name: str, kind: type, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind, default=default)


def _pipeline(
    name: str, description: str, parameters: list[inspect.Parameter], document: str, build: Callable[[Given], None]
) -> Any:
    def function(*channels: Any) -> None:
        build({parameter.name: channel for parameter, channel in zip(parameters, channels, strict=True)})

    function.__name__ = name.replace("-", "_")
    function.__doc__ = document
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return dsl.pipeline(name=name, description=description)(function)
