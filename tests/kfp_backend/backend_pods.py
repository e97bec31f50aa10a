"""Pods: what Kubernetes is asked for, and KFP's own executor run in this process in place of a container.

Paths and lines are of Kubeflow Pipelines 2.17.0, below backend/src/v2.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from backend_inputs import NullError, Resolver
from backend_metadata import Execution
from backend_values import BackendError, quantity
from compiled_ir import Compiled, Tree

FAULT = "EMULATED_FAULT"
"""Tells code in an emulated pod what is to happen to it: `killed` or `gone` in the middle, or `held` there."""

Values = dict[str, Any]

_CHANNEL = re.compile(r"\$\.inputs\.parameters\['(.+?)'\]")
_HOLD = 40
_HELD = threading.Event()
_GO = threading.Event()


@dataclass
class Pod:
    """What a driver asks Kubernetes for.

    Attributes:
        image: of the container.
        limits: most of each resource, GPUs among them; `requests` likewise.
        node_selector: labels of its node.
        tolerations: of its node's taints.
        env: variables whose values are known without a cluster.
    """

    image: str
    limits: dict[str, str] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[Any] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)


def ask(container: Tree, settings: Tree, inputs: Values, resolver: Resolver, dag: Execution, name: str) -> Pod:
    """The pod of a task; a field made from a parameter takes texts only (driver/resolve.go:818, driver.go:273-441)."""
    resources = container.get("resources", {})
    pod = Pod(_field(container["image"], inputs))
    for place, kind, unit in (
        (pod.limits, "memory", "resourceMemoryLimit"), (pod.requests, "memory", "resourceMemoryRequest"),
        (pod.limits, "cpu", "resourceCpuLimit"), (pod.requests, "cpu", "resourceCpuRequest"),
    ):  # fmt: skip
        if resources.get(unit):
            place[kind] = quantity(_field(resources[unit], inputs))
    accelerator = resources.get("accelerator", {})
    kind, count = (_field(accelerator.get(part, ""), inputs) for part in ("resourceType", "resourceCount"))
    if kind and count:  # else there is none, and nobody says so
        pod.limits[kind] = quantity(count)
    pod.env = {one["name"]: one.get("value", "") for one in container.get("env", ())}
    _kubernetes(pod, settings, resolver, dag, name)
    return pod


def _field(value: str, inputs: Values) -> str:
    found = _CHANNEL.search(value)
    if found is None:
        return value
    if found[1] not in inputs:
        raise BackendError("executorInput did not contain container Image input parameter")
    given = inputs[found[1]]
    return given if isinstance(given, str) else ""


def _kubernetes(pod: Pod, settings: Tree, resolver: Resolver, dag: Execution, name: str) -> None:
    """The settings for Kubernetes; what is a parameter there is resolved like an input of a task (driver/k8s.go)."""
    selector = settings.get("nodeSelector", {})
    if "nodeSelectorJson" in selector:
        pod.node_selector = _optional(resolver, selector["nodeSelectorJson"], dag, {})
        if not isinstance(pod.node_selector, dict):
            raise BackendError("failed to unmarshal k8s Resource json")
    for toleration in settings.get("tolerations", ()):
        found = _optional(resolver, toleration["tolerationJson"], dag, [])
        if not isinstance(found, dict | list):
            raise BackendError("encountered unexpected toleration proto value, must be either struct or list type")
        pod.tolerations += [found] if isinstance(found, dict) and found else found or []
    for source, parameter in (
        ("secretAsEnv", "secretNameParameter"), ("secretAsVolume", "secretNameParameter"),
        ("configMapAsEnv", "configMapNameParameter"), ("configMapAsVolume", "configMapNameParameter"),
        ("pvcMount", "pvcNameParameter"), ("imagePullSecret", "secretNameParameter"),
    ):  # fmt: skip
        for one in settings.get(source, ()):
            if parameter in one and not isinstance(_optional(resolver, one[parameter], dag, "-") or 0, str):
                raise BackendError(f"resolving {source}: Expected a non-empty string")
    values = {"metadata.name": name, "metadata.namespace": "kubeflow"}
    for one in settings.get("fieldPathAsEnv", ()):
        pod.env[one["name"]] = values.get(one["fieldPath"], "workflow")


def _optional(resolver: Resolver, source: Tree, dag: Execution, otherwise: Any) -> Any:
    try:
        return resolver.value(source, dag, {})
    except NullError:
        return otherwise


@dataclass(frozen=True)
class Work:
    """A container that is to run.

    Attributes:
        compiled: the pipeline.
        component: its component.
        inputs: parameters.
        folder: for what it makes.
        env: variables of the pod.
    """

    compiled: Compiled
    component: Tree
    inputs: Values
    folder: Path
    env: Mapping[str, str]

    def provision(self) -> Values:
        """What KFP hands to an executor (driver/driver.go, provisionOutputs)."""
        made = self.component.get("outputDefinitions", {})
        artifacts = {
            name: {"artifacts": [{"name": name, "uri": str(self.folder / name), "type": one["artifactType"]}]}
            for name, one in made.get("artifacts", {}).items()
        }
        outputs = {name: {"outputFile": str(self.folder / "parameters" / name)} for name in made.get("parameters", {})}
        return {
            "inputs": {"parameterValues": self.inputs},
            "outputs": {
                "parameters": outputs, "artifacts": artifacts, "outputFile": str(self.folder / "executor_output.json"),
            },
        }  # fmt: skip

    def run(self) -> Values:
        """Run the component's function by KFP's own executor, as the compiled file holds it; gives what it made."""
        from kfp.dsl.executor import Executor

        container = self.compiled.container(self.component["executorLabel"])
        name = container["args"][container["args"].index("--function_to_execute") + 1]
        given = self.provision()
        self.folder.mkdir(parents=True)
        with _environment(self.env):
            Executor(given, _function(container["command"][-1], name)).execute()
        made: Values = json.loads((self.folder / "executor_output.json").read_text("utf-8"))
        return made


@cache
def _function(source: str, name: str) -> Callable[..., Any]:
    space: Values = {"__name__": "ephemeral_component"}
    exec(compile(source, f"<{name}>", "exec", dont_inherit=True), space)  # noqa: S102 - the project's own component
    found: Callable[..., Any] = space[name]
    return found


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def midway() -> None:
    """To be called by code in a pod, in the middle of its work: dies or waits there, if that is to happen to it."""
    fault = os.environ.get(FAULT)
    if fault in ("killed", "gone"):
        os._exit(137)
    if fault == "held":
        _HELD.set()
        _GO.wait()


def run_and_kill(work: Work) -> None:
    """Run in a process of its own, which dies at the latest before it can tell what it made."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            work.run()
        finally:
            os._exit(137)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 137


def run_and_hold(work: Work) -> Generator[None, None, Values]:
    """Run up to the middle, let others go on for a while, and run to the end."""
    _HELD.clear()
    _GO.clear()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(work.run)
        while not (_HELD.wait(0.01) or made.done()):
            pass
        os.environ.pop(FAULT, None)  # it is for this pod alone
        for _ in range(_HOLD):
            yield
        _GO.set()
        return made.result()
