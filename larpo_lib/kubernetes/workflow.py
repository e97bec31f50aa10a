"""What the workflow engine knows of a run: tasks that failed before or beside their own code."""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from larpo_lib.kubernetes.cluster import Cluster

_PATIENCE_S = 60.0
_FAILED = ("Failed", "Error")
_MOST = 20
_ENGINES_OWN = re.compile(r"(root|executor|exit-handler-\d+|for-loop-\d+|condition-[\w-]+|iteration-item)")
_ITEM = re.compile(r"iteration-iterations\((\d+):.*\)")


@dataclass(frozen=True)
class Workflow:
    """How a run went, as the engine has it.

    Attributes:
        terminated: somebody ended it.
        failures: a line for each pod that failed, with what the engine says of it.
    """

    terminated: bool
    failures: list[str]


def read_workflow(name: str) -> Workflow:
    """The workflow of that name, which the label `workflows.argoproj.io/workflow` of its pods gives.

    Raises:
        ClusterError: the Kubernetes API refuses, or there is no such workflow.
    """
    return parse(Cluster(patience_s=_PATIENCE_S).workflow(name))


def parse(workflow: Mapping[str, Any]) -> Workflow:
    """From the API's JSON. The engine compresses the states of a large workflow."""
    status = workflow.get("status", {})
    nodes = status.get("nodes") or {}
    if not nodes and status.get("compressedNodes"):
        nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
    failed = [node for node in nodes.values() if node.get("type") == "Pod" and node.get("phase") in _FAILED]
    lines = [f"{_place(node)}: {_said(node)}" for node in sorted(failed, key=lambda node: str(node.get("name", "")))]
    further = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return Workflow(workflow.get("spec", {}).get("activeDeadlineSeconds") == 0, [*lines[:_MOST], *further])


def _place(node: Mapping[str, Any]) -> str:
    """The task that a pod belongs to, without the names that the engine adds around it; items of loops from 1 on."""
    own = filter(None, map(own_name, str(node.get("name", "")).split(".")[1:]))
    return " / ".join(own) or str(node.get("displayName", "a pod"))


def own_name(name: str) -> str:
    """A task's name, without what is in brackets behind it; "" where the engine added the task.

    Items of loops count from 1 on.
    """
    item = _ITEM.fullmatch(name)
    text = f"item {int(item[1]) + 1}" if item else re.sub(r"\(.*\)$", "", name)
    return "" if _ENGINES_OWN.fullmatch(text) else text


def _said(node: Mapping[str, Any]) -> str:
    return " ".join(str(node.get("message") or f"{node['phase']}, without a message").split())[:300]
