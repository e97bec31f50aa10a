"""Trains on several machines: starts a TrainJob, follows it, and clears up behind it."""

import time
from collections.abc import Mapping
from typing import Any, NoReturn

from larpo_lib.errors import ClusterError
from larpo_lib.kubernetes.cluster import Cluster
from larpo_lib.kubernetes.logs import Logs
from larpo_lib.kubernetes.manifests import SPEC
from larpo_lib.kubernetes.notices import Notices
from larpo_lib.kubernetes.status import Node, first_failure, is_of, node, state
from larpo_lib.progress import tell
from larpo_lib.signals import terminable

_POLL_S = 5.0
_FAREWELL_S = 10.0  # for each of two requests, of the 30 that a pod has between SIGTERM and SIGKILL


def train_on_nodes(job: dict[str, Any], *, poll_s: float = _POLL_S) -> None:
    """Start a TrainJob, and return when the policy is published.

    A TrainJob of that name that runs already, as after a kill of the pod that followed it, is followed on; one that
    failed is replaced, and goes on from its newest checkpoint. The nodes' logs come as lines on standard error. On
    success, on SIGTERM and on an interrupt the TrainJob is deleted, unless another run started it; after a failure it
    stays until `cleanup`.

    Args:
        job: the TrainJob, as `train_job` makes it.
        poll_s: seconds between two looks at the TrainJob.

    Raises:
        ClusterError: the TrainJob failed (names the node, with its last lines), runs with other settings, was deleted
        by someone else, or the Kubernetes API refuses.
    """
    name = job["metadata"]["name"]
    cluster = Cluster()
    owner = cluster.owner()
    if owner is not None:  # it goes when the run goes
        job = {**job, "metadata": {**job["metadata"], "ownerReferences": [owner]}}
    with terminable():
        try:
            _start(cluster, job, poll_s)
            _follow(cluster, name, owner, poll_s)
        except (SystemExit, KeyboardInterrupt):
            cluster.patience_s = _FAREWELL_S
            ours = _delete_own(cluster, name, owner)
            tell(f"TrainJob {name}: {'stopped and deleted' if ours else 'left to the run that started it'}")
            raise
    _delete_own(cluster, name, owner)


def cleanup(run: str) -> int:
    """Delete the TrainJobs that this pod's workflow started for a run, running or not; for the exit handler.

    Those of other runs of that name stay: in another root, or submitted again while this one was at work.

    Args:
        run: as given to `train_job`.

    Returns:
        How many were deleted.

    Raises:
        ClusterError: the Kubernetes API refuses.
    """
    cluster = Cluster()
    owner = cluster.owner()
    names = [job["metadata"]["name"] for job in cluster.of_run(run) if is_of(job, owner)]
    for name in names:
        cluster.delete(name)
        tell(f"TrainJob {name}: deleted")
    return len(names)


def _delete_own(cluster: Cluster, name: str, owner: Mapping[str, Any] | None) -> bool:
    """Delete a TrainJob unless another run started it. False: it did."""
    job = cluster.get(name)
    ours = job is None or is_of(job, owner)
    if ours:
        cluster.delete(name)
    return ours


def _start(cluster: Cluster, job: Mapping[str, Any], poll_s: float) -> None:
    """Have the TrainJob there: a new one, or the one that is at work already."""
    name = job["metadata"]["name"]
    while True:
        found = cluster.get(name)
        if found is None:
            if cluster.create(job):
                tell(f"TrainJob {name}: started on {job['spec']['trainer']['numNodes']} nodes")
                return
            continue
        doing, _ = state(found)
        same = found["metadata"].get("annotations", {}).get(SPEC) == job["metadata"]["annotations"][SPEC]
        if doing in ("running", "complete") and same:
            tell(f"TrainJob {name}: found, following it")
            return
        if doing == "running":
            raise ClusterError(
                f"TrainJob {name} in namespace {cluster.namespace} is running with other settings",
                remedy="Wait until it ends, delete it, or choose another name",
            )
        if doing != "leaving":
            tell(f"TrainJob {name}: {doing}, replaced by a new one")
            cluster.delete(name, wait=True)
        time.sleep(poll_s)


def _follow(cluster: Cluster, name: str, owner: Mapping[str, Any] | None, poll_s: float) -> None:
    """Hand on what the nodes write until the TrainJob has ended."""
    logs, notices, ours = Logs(cluster, tell), Notices(cluster, name, tell), True
    while True:
        job = cluster.get(name)  # before the pods, so that those of a TrainJob that has ended have ended
        doing, why = ("leaving", "") if job is None else state(job)
        ours = ours if job is None else is_of(job, owner)
        nodes = [node(pod) for pod in cluster.nodes(name)]
        notices.look(nodes)
        logs.follow(nodes)
        if doing != "running":
            logs.close()
        if doing == "complete":
            return
        if doing == "failed":
            _raise_failure(name, why, nodes, logs)
        if doing == "leaving":
            error = ClusterError(f"TrainJob {name} was deleted by someone else", remedy="Run the same step again")
            error.transient = not ours  # the run that started it has ended: another try starts one of its own
            raise error
        time.sleep(poll_s)


def _raise_failure(name: str, why: str, nodes: list[Node], logs: Logs) -> NoReturn:
    first = first_failure(nodes)
    if first is None:
        raise ClusterError(f"TrainJob {name} failed: {why or 'no reason reported'}")
    written = " | ".join(line.strip() for line in logs.last_lines(first) if line.strip())
    raise ClusterError(
        f"TrainJob {name} failed: node {first.rank} (pod {first.pod}) ended with {first.failure};"
        f" its last lines: {written or 'none'}"
    )
