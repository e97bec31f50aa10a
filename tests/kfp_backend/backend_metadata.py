"""The metadata store as drivers and launchers use it: executions, the DAGs they are in, and who updates a DAG's state.

Paths and lines are of Kubeflow Pipelines 2.17.0, below backend/src/v2.
"""

from dataclasses import dataclass, field
from typing import Any

from backend_values import BackendError

_OVER = ("COMPLETE", "CACHED", "CANCELED")


@dataclass
class Execution:
    """What the metadata know of a task, an iteration or a group.

    Attributes:
        id: its number; tasks in it have it as their `parent`.
        task: its name in the DAG around it.
        parent: the DAG around it; 0: it is the run's root.
        state: RUNNING, COMPLETE, FAILED, CACHED, or CANCELED where its condition did not hold.
        container: whether it is a container rather than a DAG.
        inputs: resolved input parameters; `outputs` likewise, of a container.
        artifacts: output artifacts, by name.
        index: of the iteration that it is; `count`: how many iterations it has.
        tasks: how many tasks the DAG has.
        passes: where a DAG's own outputs come from, as the compiled pipeline says it.
        fingerprint: under which a result is kept; empty: it is not.
    """

    id: int
    task: str
    parent: int
    state: str = "RUNNING"
    container: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)
    index: int | None = None
    count: int | None = None
    tasks: int = 0
    passes: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""


class Metadata:
    """All executions of all runs.

    Args:
        carries_up: whether a final state of a DAG is carried to the DAGs around it: from 2.17 on.
    """

    def __init__(self, *, carries_up: bool = True) -> None:
        self._carries_up = carries_up
        self._all: dict[int, Execution] = {}
        self.cached: dict[str, Execution] = {}

    def create(self, task: str, parent: int, **more: Any) -> Execution:
        """Write a new execution, also where there is one of that name: no name is unique (metadata/client.go:627)."""
        made = Execution(len(self._all) + 1, task, parent, **more)
        self._all[made.id] = made
        return made

    def get(self, number: int) -> Execution:
        """An execution."""
        return self._all[number]

    def since(self, number: int) -> list[Execution]:
        """The executions behind that many."""
        return [one for one in self._all.values() if one.id > number]

    def inside(self, dag: int) -> dict[str, Execution]:
        """The executions of a DAG by name, number of the DAG and iteration.

        Raises:
            BackendError: two have the same name (metadata/client.go:1063).
        """
        found: dict[str, Execution] = {}
        for one in (one for one in self._all.values() if one.parent == dag):
            index = one.index if one.index is not None else self._all[dag].index
            name = key(one.task, dag, index)
            if name in found:
                ids = f"id1={found[name].id} id2={one.id}"
                raise BackendError(f'two tasks have the same task name "{name}" {ids}')
            found[name] = one
        return found

    def below(self, dag: int) -> dict[str, Execution]:
        """The executions of a DAG and of every DAG below it (driver/resolve.go:62)."""
        found = self.inside(dag)
        for one in [*found.values()]:
            if not one.container:
                found.update(self.below(one.id))
        return found

    def settle(self, dag: int) -> None:
        """What a launcher does at its end: find out the state of the DAG around it (metadata/client.go:800-878)."""
        around = self._all[dag]
        expected = around.tasks if around.count is None else around.count
        if expected == 0 and around.count is None:  # the root
            return
        try:
            states = [one.state for one in self.inside(dag).values()]
        except BackendError:  # told in a log that nobody reads
            return
        if sum(state in _OVER for state in states) == expected:
            around.state = "COMPLETE"
        elif "FAILED" in states:
            around.state = "FAILED"
        else:
            return
        if self._carries_up and around.parent:
            self.settle(around.parent)


def key(task: str, dag: int, index: int | None) -> str:
    """The name under which a task is found among all that are below a DAG (metadata/client.go:377-386)."""
    return f"{task}_{dag}" if index is None else f"{task}_{dag}_idx_{index}"
