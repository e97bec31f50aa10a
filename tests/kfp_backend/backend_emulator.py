"""Kubeflow Pipelines' backend without a cluster: what its compiler makes Argo do, its drivers and its launcher.

Written from what the real ones do (Kubeflow Pipelines 2.17.0 with Argo 4.0.5, paths below backend/src/v2); it holds
none of their code. One pod moves at a time, in an order that follows from a seed.
"""

import random
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import compiled_ir as ir
from backend_drivers import Drivers
from backend_metadata import Execution, Metadata
from backend_outcome import ERROR, FAILED, OMITTED, SKIPPED, SUCCEEDED, V2_17, Outcome, Phase, Version
from backend_pods import FAULT, Work, run_and_hold, run_and_kill
from backend_values import BackendError, stored
from compiled_ir import Compiled, Tree

Process = Generator[None, None, Phase]


class Backend:
    """A cluster with Kubeflow Pipelines, whose metadata and cache outlive runs.

    Args:
        folder: pipeline root.
        version: of the backend.
        seed: decides which of those pods that can go on goes on; None: they take turns.

    Attributes:
        last: what has become so far of the run that was submitted last.
    """

    def __init__(self, folder: Path, version: Version = V2_17, seed: int | None = None) -> None:
        self.folder, self.version = folder, version
        self.metadata = Metadata(carries_up=version.carries_up)
        self.random = None if seed is None else random.Random(seed)
        self.last: Outcome | None = None
        self._runs = 0

    def run(
        self, compiled: Compiled, arguments: Mapping[str, Any], faults: Mapping[str, list[str]] | None = None
    ) -> Outcome:
        """Run a pipeline.

        Args:
            compiled: the pipeline.
            arguments: parameters; those that are left out have their defaults.
            faults: what happens to each try of a pod, by a pattern of its path. To a driver: `lost`, after it wrote. To
                a container: `error`, `killed`, `held`, `unpulled` (it never starts), `gone` (its pod was deleted).
        """
        self._runs += 1
        before = len(self.metadata.since(0))
        outcome = self.last = Outcome(f"{self.folder.name}-job-{self._runs}")
        process = _Workflow(self, compiled, outcome, faults or {}).run(arguments)
        while not outcome.phase:
            next(process, None)
        outcome.states = {one.task: one.state for one in self.metadata.since(before) if one.task}
        return outcome


class _Workflow:
    def __init__(self, backend: Backend, compiled: Compiled, outcome: Outcome, faults: Mapping[str, list[str]]) -> None:
        self.backend, self.compiled, self.outcome, self.faults = backend, compiled, outcome, faults
        self.drivers = Drivers(compiled, backend.metadata, outcome.job)
        self.tried: dict[str, int] = {}
        self.default = (backend.version.tries, backend.version.again)

    def run(self, arguments: Mapping[str, Any]) -> Process:
        """The root's driver and its DAG; what is not given has its default (argocompiler/argo.go:90-101)."""
        given = dict(arguments)
        for name, declared in ir.parameters(self.compiled.component("root")).items():
            if name not in given and ("defaultValue" in declared or declared.get("isOptional")):
                given[name] = declared.get("defaultValue")
        root = self.backend.metadata.create("", 0, inputs=stored(given))
        self.outcome.phase = yield from self._retried(lambda: self._dag("root", root, ""), self.default)
        return self.outcome.phase

    def _retried(self, template: Callable[[], Process], tries: tuple[int, tuple[Phase, ...]]) -> Process:
        """Run a template until it ends in a phase after which it is not tried again."""
        phase = ""
        for _ in range(tries[0]):
            phase = yield from template()
            if phase not in tries[1]:
                break
        return phase

    def _dag(self, component: str, dag: Execution, path: str) -> Process:
        """A DAG's tasks: each as soon as all that it needs succeeded, else it is omitted (argocompiler/dag.go:713)."""
        every = ir.tasks(self.compiled.component(component))
        waiting = [name for name, task in every.items() if not ir.is_exit(task)]
        phases: dict[str, Phase] = {}
        running: dict[str, Process] = {}
        while waiting or running:
            for name in [name for name in waiting if ir.needs(every[name]) <= phases.keys()]:
                waiting.remove(name)
                place = f"{path}/{name}".lstrip("/")
                if all(phases[need] == SUCCEEDED for need in ir.needs(every[name])):
                    running[name] = self._task(name, every, dag, place)
                else:
                    phases[name] = self._note(place, OMITTED)
            if running:
                self._advance(running, phases)
                yield
        return _worst(phase for _, phase in sorted(phases.items()))

    def _advance(self, running: dict[str, Process], phases: dict[str, Phase]) -> None:
        """Let one of those that run go on; without a seed they take turns."""
        name = next(iter(running)) if self.backend.random is None else self.backend.random.choice(sorted(running))
        process = running.pop(name)
        try:
            next(process)
            running[name] = process
        except StopIteration as stop:
            phases[name] = stop.value

    def _task(self, name: str, every: Mapping[str, Tree], dag: Execution, path: str) -> Process:
        task = every[name]
        if "parameterIterator" in task:
            return (yield from self._retried(lambda: self._loop(name, task, dag, path), self.default))
        if "dag" not in self.compiled.component(task["componentRef"]["name"]):
            return (yield from self._container(name, task, dag, path))
        driven = yield from self._driver(path, lambda: self.drivers.group(name, task, dag))
        if driven is None:
            return self._ended(path)
        phase = yield from self._group(task, driven, path)
        for last, exit_task in every.items():
            if ir.is_exit(exit_task) and exit_task["dependentTasks"] == [name]:  # a hook: how it ends is no matter
                yield from self._container(last, exit_task, dag, last)
        return phase

    def _group(self, task: Tree, driven: Execution, path: str) -> Process:
        if driven.state == "CANCELED":
            return self._note(path, SKIPPED)
        component = task["componentRef"]["name"]
        phase = yield from self._retried(lambda: self._dag(component, driven, path), self.default)
        return self._note(path, phase)

    def _loop(self, name: str, task: Tree, dag: Execution, path: str) -> Process:
        """A ParallelFor: items in their order, so many at once, also after a failure (argocompiler/dag.go:360)."""
        loop = yield from self._driver(path, lambda: self.drivers.group(name, task, dag))
        if loop is None:
            return self._ended(path)
        if loop.state == "CANCELED":
            return self._note(path, SKIPPED)
        count = loop.count or 0
        most = task.get("iteratorPolicy", {}).get("parallelismLimit", 0) or count
        each = (lambda i=i: self._iteration(i, task, loop, f"{path}.{i}") for i in range(count))
        waiting = [(f"{i:06d}", self._retried(iteration, self.default)) for i, iteration in enumerate(each)]
        running: dict[str, Process] = {}
        phases: dict[str, Phase] = {}
        while waiting or running:
            while waiting and len(running) < most:
                index, process = waiting.pop(0)
                running[index] = process
            self._advance(running, phases)
            yield
        return self._note(path, _worst(phase for _, phase in sorted(phases.items())))

    def _iteration(self, index: int, task: Tree, loop: Execution, path: str) -> Process:
        driven = yield from self._driver(path, lambda: self.drivers.iteration(index, task, loop))
        return self._ended(path) if driven is None else (yield from self._group(task, driven, path))

    def _driver(self, path: str, drive: Callable[[], Execution]) -> Generator[None, None, Execution | None]:
        """A driver's pod. One that is lost after it wrote is run again, and writes again. None: it failed."""
        place = f"{path}-driver"
        phase = ""
        for _ in range(self.backend.version.tries):
            yield
            try:
                driven = drive()
                phase = ERROR if self._fault(place) == "lost" else SUCCEEDED
            except BackendError as error:
                self.outcome.messages[place] = str(error)
                phase = FAILED
            if phase == SUCCEEDED:
                return driven
            if phase not in self.backend.version.again:
                break
        self._note(place, phase)
        return None

    def _ended(self, path: str) -> Phase:
        """A task whose driver ended badly is omitted, and the DAG around it ends as the driver did."""
        return self._note(path, OMITTED) and dict(self.outcome.nodes)[f"{path}-driver"]

    def _container(self, name: str, task: Tree, dag: Execution, path: str) -> Process:
        driven = yield from self._driver(path, lambda: self.drivers.container(name, task, dag))
        if driven is None:
            return self._ended(path)
        if driven.state == "CANCELED":
            return self._note(path, SKIPPED)
        if driven.state == "CACHED":  # no pod; what is behind it goes on (argocompiler/container.go:428-433)
            return self._note(path, SUCCEEDED)
        self.outcome.pods[path] = self.drivers.pods[driven.id]
        policy = task.get("retryPolicy")
        tries = (policy["maxRetryCount"] + 1, self.backend.version.retried) if policy else self.default
        component = self.compiled.component(task["componentRef"]["name"])
        executor = lambda: self._retried(lambda: self._launch(driven, component, path), tries)  # noqa: E731
        return self._note(path, (yield from self._retried(executor, self.default)))

    def _launch(self, execution: Execution, component: Tree, path: str) -> Process:
        """A container's pod. Its launcher tells how it ended, if it still can (component/launcher_v2.go:184-316)."""
        yield
        fault = self._fault(path)
        if fault == "unpulled":
            self.outcome.messages[path] = "Back-off pulling image"
            return FAILED
        execution.state = "RUNNING"
        self.outcome.ran.append(path)
        folder = self.backend.folder / self.compiled.name / self.outcome.job / execution.task
        env = {**self.outcome.pods[path].env, **({FAULT: fault} if fault else {})}
        place = folder / f"{execution.id}-{self.tried[path]}"
        work = Work(self.compiled, component, execution.inputs, place, env)
        if fault in ("killed", "gone"):
            run_and_kill(work)
            self.outcome.messages[path] = "OOMKilled (exit code 137)" if fault == "killed" else "pod deleted"
            return FAILED if fault == "killed" else ERROR
        try:
            if fault == "error":
                raise RuntimeError("injected")
            made = (yield from run_and_hold(work)) if fault == "held" else work.run()
        except Exception as error:
            self.outcome.messages[path] = "".join(traceback.format_exception_only(error)).strip()
            execution.state = "FAILED"
            self.backend.metadata.settle(execution.parent)
            return FAILED
        self._publish(execution, made, path)
        return SUCCEEDED

    def _publish(self, execution: Execution, made: dict[str, Any], path: str) -> None:
        execution.outputs = stored(made.get("parameterValues", {}))
        execution.artifacts = made.get("artifacts", {})
        execution.state = "COMPLETE"
        self.outcome.outputs[path] = made
        if execution.fingerprint:
            self.backend.metadata.cached[execution.fingerprint] = execution
        self.backend.metadata.settle(execution.parent)

    def _fault(self, path: str) -> str | None:
        """What is to happen to this try of a pod."""
        number = self.tried[path] = self.tried.get(path, 0) + 1
        planned = next((planned for pattern, planned in self.faults.items() if fnmatchcase(path, pattern)), [])
        return planned[number - 1] if number <= len(planned) else None

    def _note(self, path: str, phase: Phase) -> Phase:
        self.outcome.nodes.append((path, phase))
        return phase


def _worst(phases: Iterable[Phase]) -> Phase:
    return next((phase for phase in phases if phase in (FAILED, ERROR)), SUCCEEDED)
