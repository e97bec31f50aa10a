"""What becomes of an emulated run, and what differs between releases of Kubeflow Pipelines."""

import re
from dataclasses import dataclass, field
from typing import Any

from backend_pods import Pod

_ITERATION = re.compile(r"(.+)\.(\d+)(-driver)?")

Phase = str

SUCCEEDED, FAILED, ERROR, SKIPPED, OMITTED = "Succeeded", "Failed", "Error", "Skipped", "Omitted"


@dataclass(frozen=True)
class Version:
    """What differs between releases.

    Attributes:
        tries: of every template of the workflow, groups and drivers among them: the manifests' templateDefaults.
        again: phases after which a template is tried again.
        retried: phases after which a task with retries is tried again: Argo's retryPolicy, which KFP does not set.
        carries_up: whether final states of DAGs are carried upward.
    """

    tries: int = 3
    again: tuple[Phase, ...] = (ERROR,)
    retried: tuple[Phase, ...] = (ERROR,)
    carries_up: bool = True


V2_17 = Version()
ALWAYS = Version(again=(FAILED, ERROR), retried=(FAILED, ERROR))
"""2.17 where an administrator set `retryPolicy: Always`."""
V2_16 = Version(tries=1, retried=(FAILED,), carries_up=False)
"""Up to 2.16.1: no defaults for templates, so Argo's OnFailure."""


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        job: its identity.
        phase: of the workflow.
        nodes: every node with its phase, in the order in which they ended; a path names it.
        messages: what failed nodes said, by path.
        ran: the containers that ran, in their order.
        pods: what each of them asked for, by path.
        outputs: what each of them told, parameters and artifacts.
        states: of the executions in the metadata, by name; of several of one name, those of the last.
    """

    job: str
    phase: Phase = ""
    nodes: list[tuple[str, Phase]] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    pods: dict[str, Pod] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def of(self, phase: Phase) -> list[str]:
        """The nodes that ended so."""
        return [path for path, found in self.nodes if found == phase]

    def workflow(self) -> dict[str, Any]:
        """The workflow as the Kubernetes API gives it, with the pods that failed so far."""
        ended = dict(self.nodes)
        nodes = {
            path: {
                "name": f"workflow.{argo_name(path)}", "type": "Pod", "message": message,
                "phase": ended.get(path, "Failed"),
            }
            for path, message in self.messages.items()
        }  # fmt: skip
        return {"spec": {}, "status": {"nodes": nodes}}

    def tasks(self) -> list[str]:
        """The names of the containers that ran."""
        return [path.rpartition("/")[2] for path in self.ran]


def argo_name(path: str) -> str:
    """The name that Argo gives a pod's node, below the workflow's (argocompiler/dag.go:400-480, container.go)."""
    name = "root"
    for part in path.split("/"):
        found = _ITERATION.fullmatch(part)
        inside = f".iteration-iterations({found[2]}:{found[2]}).iteration-item{found[3] or ''}" if found else ""
        name += f".{found[1] if found else part}{inside}"
    return name if path.endswith("-driver") else f"{name}.executor"
