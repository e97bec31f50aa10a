"""How a driver resolves what a task is given (driver/resolve.go of Kubeflow Pipelines 2.17.0)."""

from collections.abc import Mapping
from typing import Any

from backend_metadata import Execution, Metadata, key
from backend_values import BackendError, items, stored, typed
from compiled_ir import Tree, given, parameters

_FOUND = ("COMPLETE", "CACHED")


class NullError(BackendError):
    """A parameter that nobody gave; an optional input may do without."""


class Resolver:
    """Resolves the inputs of tasks in one run.

    Args:
        metadata: where parents and producers are found.
        placeholders: what the compiler's placeholders of the run stand for.
    """

    def __init__(self, metadata: Metadata, placeholders: Mapping[str, str]) -> None:
        self._metadata = metadata
        self._placeholders = placeholders

    def inputs(self, task: Tree, component: Tree, dag: Execution) -> dict[str, Any]:
        """The input parameters of a task or group in a DAG (resolve.go:104-386)."""
        declared = parameters(component)
        found = _defaults(task, component) if "dag" in component else {}
        if task.get("inputs", {}).get("artifacts"):
            raise NotImplementedError("the emulator knows no artifacts as inputs")
        for name, source in given(task).items():
            if "parameterExpressionSelector" in source:
                raise NotImplementedError("the emulator knows no parameterExpressionSelector")
            try:
                found[name] = self.value(source, dag, task)
            except NullError:
                if not declared.get(name, {}).get("isOptional"):
                    raise
        _check(declared, found, skip=_loop(task).get("itemInput", ""))
        return found

    def iteration(self, task: Tree, component: Tree, loop: Execution, index: int) -> dict[str, Any]:
        """The input parameters of one iteration: those of the loop, and an item for the items (resolve.go:258-296)."""
        iterator, found = _loop(task), dict(loop.inputs)
        place = iterator["items"].get("inputParameter") or iterator["itemInput"]
        found[iterator["itemInput"]] = items(found.pop(place))[index]
        _check(parameters(component), found, skip=place if place != iterator["itemInput"] else "")
        return found

    def value(self, source: Tree, dag: Execution, task: Tree) -> Any:
        """One parameter: from the direct parent only, from a task beside, or a constant (resolve.go:389-497)."""
        if "componentInputParameter" in source:
            name = source["componentInputParameter"]
            if name not in dag.inputs:
                raise BackendError(f"parent DAG does not have input parameter {name}")
            if dag.inputs[name] is None:
                raise NullError(f"the resolved input parameter is null: {name}")
            return dag.inputs[name]
        if "taskOutputParameter" in source:
            wanted = source["taskOutputParameter"]
            return self._output(wanted["producerTask"], wanted["outputParameterKey"], dag)
        if "taskFinalStatus" in source:
            ended = self._metadata.below(dag.id)[key(task["dependentTasks"][0], dag.id, dag.index)]
            return {"state": ended.state, "pipelineTaskName": ended.task, "pipelineJobResourceName": "", "error": {}}
        constant = source["runtimeValue"]["constant"]
        return self._placeholders.get(constant, constant) if isinstance(constant, str) else stored(constant)

    def _output(self, task: str, output: str, dag: Execution) -> Any:
        """An output of a task beside; the scan is over all that is below the DAG (resolve.go:577)."""
        tasks = self._metadata.below(dag.id)
        name = key(task, dag.id, dag.index)
        if name not in tasks:
            raise BackendError(f"producer task, {name}, not in tasks")
        return self._from(tasks[name], output, tasks)

    def _from(self, producer: Execution, output: str, tasks: Mapping[str, Execution]) -> Any:
        if producer.container:
            return producer.outputs.get(output)
        if producer.count is not None:  # Collected: no state of a DAG is asked for (resolve.go:869-1003)
            rounds = [tasks[key(producer.task, producer.id, i)] for i in range(producer.count)]
            return [self._from(one, output, tasks) for one in rounds]
        below, output = _passed(producer, output, tasks)
        name = key(below, producer.id, producer.index)
        if name not in tasks:
            raise BackendError(f"subTaskName, {name}, not in tasks")
        return self._from(tasks[name], output, tasks)


def _passed(group: Execution, output: str, tasks: Mapping[str, Execution]) -> tuple[str, str]:
    """The task of a group that makes an output of it; OneOf wants one that is known to be over (resolve.go:1110)."""
    if output not in group.passes:
        raise BackendError(f"output {output} not found in {group.task}")
    passed = group.passes[output]
    if "valueFromParameter" in passed:
        chosen = passed["valueFromParameter"]
        return chosen["producerSubtask"], chosen["outputParameterKey"]
    for chosen in passed["valueFromOneof"]["parameterSelectors"]:
        one = tasks.get(key(chosen["producerSubtask"], group.id, None))
        if one is not None and one.state in _FOUND:
            return chosen["producerSubtask"], chosen["outputParameterKey"]
    raise BackendError(f'processing OneOf: No successful task found for output key "{output}" in "{group.task}"')


def _defaults(task: Tree, component: Tree) -> dict[str, Any]:
    """Optional inputs of a group that nobody gave: their default, or null (resolve.go:300-316)."""
    return {
        name: stored(declared.get("defaultValue"))
        for name, declared in parameters(component).items()
        if declared.get("isOptional") and name not in given(task)
    }


def _loop(task: Tree) -> Tree:
    return dict(task.get("parameterIterator", {}))


def _check(declared: Mapping[str, Tree], found: dict[str, Any], skip: str) -> None:
    """Every declared input is there and of its type; what is not declared is no matter."""
    for name, parameter in declared.items():
        if name == skip:
            continue
        if name not in found:
            if not parameter.get("isOptional") and "defaultValue" not in parameter:
                raise BackendError(f'neither value nor default value provided for non-optional parameter "{name}"')
        elif found[name] is not None or not parameter.get("isOptional"):
            found[name] = typed(name, parameter["parameterType"], found[name])
