"""Names inside nested pipelines that survive being nested."""

from __future__ import annotations

from typing import Any


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
