"""What drivers write to the metadata: groups, iterations, containers (driver/ of Kubeflow Pipelines 2.17.0)."""

import hashlib
import json
from typing import Any

import compiled_ir as ir
from backend_inputs import Resolver
from backend_metadata import Execution, Metadata
from backend_pods import Pod, ask
from backend_values import holds, items
from compiled_ir import Compiled, Tree


class Drivers:
    """The drivers of one run. Called twice, one writes twice: no execution but the root's has a name of its own.

    Args:
        compiled: the pipeline.
        metadata: where they write.
        job: identity of the run.
    """

    def __init__(self, compiled: Compiled, metadata: Metadata, job: str) -> None:
        self._compiled, self._metadata, self._job = compiled, metadata, job
        known = {"{{$.pipeline_job_uuid}}": job, "{{$.pipeline_job_name}}": job}
        self._resolver = Resolver(metadata, {**known, "{{$.pipeline_job_resource_name}}": f"{compiled.name}-abc"})
        self.pods: dict[int, Pod] = {}

    def group(self, name: str, task: Tree, dag: Execution) -> Execution:
        """Inputs, condition, and how many iterations there are (driver/dag.go)."""
        component = self._component(task)
        inputs = self._resolver.inputs(task, component, dag)
        triggered = not ir.condition(task) or holds(ir.condition(task), inputs)
        more: dict[str, Any] = {}
        if triggered and "parameterIterator" in task:
            iterator = task["parameterIterator"]
            source = iterator["items"]
            if "raw" in source:
                inputs[iterator["itemInput"]] = json.loads(source["raw"])
            more["count"] = len(items(inputs[source.get("inputParameter") or iterator["itemInput"]]))
        return self._group(name, component, dag, inputs, state="RUNNING" if triggered else "CANCELED", **more)

    def iteration(self, index: int, task: Tree, loop: Execution) -> Execution:
        """One iteration of a loop."""
        component = self._component(task)
        inputs = self._resolver.iteration(task, component, loop, index)
        return self._group(loop.task, component, loop, inputs, index=index)

    def container(self, name: str, task: Tree, dag: Execution) -> Execution:
        """Inputs, condition, cache, and the pod to ask for (driver/container.go)."""
        component = self._component(task)
        inputs = self._resolver.inputs(task, component, dag)
        triggered = not ir.condition(task) or holds(ir.condition(task), inputs)
        label = component["executorLabel"]
        container, settings = self._compiled.container(label), self._compiled.platform.get(label, {})
        fingerprint = ""
        if triggered and task.get("cachingOptions", {}).get("enableCache"):
            fingerprint = _fingerprint(self._compiled.name, inputs, component, container, settings)
        known = self._metadata.cached.get(fingerprint)
        more: dict[str, Any] = {"state": "RUNNING" if triggered else "CANCELED"}
        if known is not None:
            more = {"state": "CACHED", "outputs": known.outputs, "artifacts": known.artifacts}
        made = self._metadata.create(name, dag.id, container=True, inputs=inputs, fingerprint=fingerprint, **more)
        if made.state == "RUNNING":
            self.pods[made.id] = ask(container, settings, inputs, self._resolver, dag, f"{self._job}-{made.id}")
        return made

    def _component(self, task: Tree) -> Tree:
        return self._compiled.component(task["componentRef"]["name"])

    def _group(self, name: str, component: Tree, dag: Execution, inputs: dict[str, Any], **more: Any) -> Execution:
        passes = component["dag"].get("outputs", {}).get("parameters", {})
        count = len(component["dag"]["tasks"])
        return self._metadata.create(name, dag.id, inputs=inputs, passes=passes, tasks=count, **more)


def _fingerprint(name: str, inputs: dict[str, Any], component: Tree, container: Tree, settings: Tree) -> str:
    """What a result is kept under: no variable, no secret, and nothing of what is in a store (driver/cache.go)."""
    volumes = sorted(one["pvcNameParameter"]["runtimeValue"]["constant"] for one in settings.get("pvcMount", ()))
    made = component.get("outputDefinitions", {})
    parts = [name, inputs, made, container["image"], container["command"], container["args"], volumes]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
