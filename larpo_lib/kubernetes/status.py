"""What TrainJobs and their pods say of themselves: pure functions of the API's JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["running", "complete", "failed", "leaving"]

_SIGTERM = 128 + 15
_INDEX = "batch.kubernetes.io/job-completion-index"
_ATTEMPT = "jobset.sigs.k8s.io/restart-attempt"


@dataclass(frozen=True)
class Node:
    """A pod of a TrainJob.

    Attributes:
        rank: which node it is; node 0 leads.
        pod: its name.
        uid: another one where a node was started anew.
        started: whether there is a log to read.
        ended: whether it will write no more.
        waiting: why it has not started, where the cluster says so.
        failure: how it ended, where not well, such as "exit code 1 (OOMKilled)".
        stopped: whether it ended because it was told to, by SIGTERM.
        ended_at: when, as ISO 8601 in UTC; "" where the cluster does not say.
        attempt: how often all nodes had been started anew before.
    """

    rank: int
    pod: str
    uid: str
    started: bool
    ended: bool
    waiting: str
    failure: str
    stopped: bool
    ended_at: str
    attempt: int = 0


def state(job: Mapping[str, Any]) -> tuple[State, str]:
    """What a TrainJob does, and its own words for why it failed."""
    if job["metadata"].get("deletionTimestamp"):
        return "leaving", ""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["status"] == "True" and condition["type"] == "Complete":
            return "complete", ""
        if condition["status"] == "True" and condition["type"] == "Failed":
            return "failed", str(condition.get("message", ""))
    return "running", ""


def is_of(job: Mapping[str, Any], owner: Mapping[str, Any] | None) -> bool:
    """Whether a TrainJob was started by who has that owner: a pipeline's workflow; None: by hand, with no owner."""
    owners = {reference["uid"] for reference in job["metadata"].get("ownerReferences", [])}
    return not owners if owner is None else owner["uid"] in owners


def node(pod: Mapping[str, Any]) -> Node:
    """What a pod says of itself."""
    metadata, status = pod["metadata"], pod.get("status", {})
    named = {**metadata.get("annotations", {}), **metadata.get("labels", {})}
    phase = status.get("phase", "Pending")
    containers = status.get("containerStatuses") or [{}]
    container = containers[0].get("state", {})
    terminated = container.get("terminated", {})
    return Node(
        rank=int(named.get(_INDEX, 0)),
        pod=metadata["name"],
        uid=metadata["uid"],
        started=phase != "Pending",
        ended=phase in ("Succeeded", "Failed"),
        waiting=_waiting(status, container) if phase == "Pending" else "",
        failure=_failure(status, terminated) if phase == "Failed" else "",
        stopped=terminated.get("exitCode") == _SIGTERM,
        ended_at=str(terminated.get("finishedAt") or ""),
        attempt=int(named.get(_ATTEMPT, 0)),
    )


def first_failure(nodes: Sequence[Node]) -> Node | None:
    """The node that failed before the others: theirs are its consequence.

    One without a time was taken by the cluster, which is never a consequence; one that was stopped always is.
    """
    failed = [node for node in nodes if node.failure]
    return min(failed, key=lambda node: (node.stopped, node.ended_at, node.rank), default=None)


def warning(event: Mapping[str, Any]) -> str | None:
    """What an event of Kubernetes warns of, such as "Job larpo-x-node-0: FailedCreate: exceeded quota"; else None."""
    if event.get("type") != "Warning":
        return None
    about = event.get("involvedObject", {})
    said = [str(event[key]) for key in ("reason", "message") if event.get(key)]
    return ": ".join([f"{about.get('kind')} {about.get('name')}", *said])


def _waiting(status: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    """Why a pod does not start, as the kubelet or else the scheduler says."""
    said = container.get("waiting") or {}
    if said.get("reason") in (None, "ContainerCreating", "PodInitializing"):
        conditions = status.get("conditions", [])
        said = next((one for one in conditions if one["type"] == "PodScheduled" and one["status"] == "False"), {})
    return ": ".join(str(said[key]) for key in ("reason", "message") if said.get(key))


def _failure(status: Mapping[str, Any], terminated: Mapping[str, Any]) -> str:
    if not terminated:  # evicted, or its machine is gone
        return str(status.get("reason") or status.get("message") or "no reason reported")
    reason = terminated.get("reason", "Error")
    code = f"exit code {terminated.get('exitCode')}"
    return code if reason == "Error" else f"{code} ({reason})"
