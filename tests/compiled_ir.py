"""A compiled pipeline as Kubeflow's backend reads it: pipeline spec and platform spec."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]

EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
"""Strategy of a task that runs whatever became of the one before it."""


@dataclass(frozen=True)
class Compiled:
    """The two documents of a compiled pipeline.

    Attributes:
        spec: the pipeline spec.
        platform: what Kubernetes is told of each executor, by its label.
    """

    spec: Tree
    platform: Tree = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the pipeline."""
        return str(self.spec["pipelineInfo"]["name"])

    def component(self, name: str) -> Tree:
        """A component; `root` is the pipeline itself."""
        return dict(self.spec["root"] if name == "root" else self.spec["components"][name])

    def components(self) -> dict[str, Tree]:
        """All components by their names, `root` first."""
        return {"root": self.spec["root"], **self.spec.get("components", {})}

    def container(self, label: str) -> Tree:
        """What an executor runs."""
        return dict(self.spec["deploymentSpec"]["executors"][label]["container"])


def load(path: Path) -> Compiled:
    """Read a compiled pipeline."""
    return parse(path.read_text("utf-8"))


@cache
def parse(text: str) -> Compiled:
    """A compiled pipeline from its YAML."""
    documents = [tree for tree in yaml.load_all(text, Loader=yaml.CSafeLoader) if tree]
    spec = documents[0]
    platforms = documents[1]["platforms"]["kubernetes"] if len(documents) > 1 else {}
    return Compiled(spec, platforms.get("deploymentSpec", {}).get("executors", {}))


def tasks(component: Tree) -> dict[str, Tree]:
    """The tasks of a DAG, in the order of their names, as the backend takes them."""
    return dict(sorted(component.get("dag", {}).get("tasks", {}).items()))


def parameters(component: Tree) -> dict[str, Tree]:
    """The input parameters that a component declares."""
    return dict(component.get("inputDefinitions", {}).get("parameters", {}))


def given(task: Tree) -> dict[str, Tree]:
    """Where a task's input parameters come from."""
    return dict(task.get("inputs", {}).get("parameters", {}))


def needs(task: Tree) -> set[str]:
    """The tasks that a task waits for, said or implied (argocompiler/dag.go:640-694)."""
    found = set(task.get("dependentTasks", ()))
    inputs = task.get("inputs", {})
    for source in [*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()]:
        upstream = source.get("taskOutputParameter") or source.get("taskOutputArtifact")
        if upstream:
            found.add(upstream["producerTask"])
    return found


def condition(task: Tree) -> str:
    """When a task is triggered; empty: always."""
    return str(task.get("triggerPolicy", {}).get("condition", ""))


def is_exit(task: Tree) -> bool:
    """Whether a task runs at the end, whatever became of the one before it."""
    return bool(task.get("triggerPolicy", {}).get("strategy") == EXIT)


def each(tree: Any, key: str) -> list[Any]:
    """All values of that key, anywhere in a tree."""
    if isinstance(tree, Mapping):
        found = [tree[key]] if key in tree else []
        return found + [value for below in tree.values() for value in each(below, key)]
    return [value for below in tree for value in each(below, key)] if isinstance(tree, list) else []
