"""Trains on several machines: starts a TrainJob, follows it, and clears up behind it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from larpo_lib.config import TrainConfig
from larpo_lib.errors import ClusterError
from larpo_lib.kubernetes.cluster import Cluster
from larpo_lib.kubernetes.logs import Logs
from larpo_lib.kubernetes.manifests import RUNTIME, SPEC, Uris, train_job
from larpo_lib.kubernetes.notices import Notices
from larpo_lib.kubernetes.status import Node, first_failure, node, state

_POLL_S = 5.0
_FAREWELL_S = 20.0  # of the 30 that a pod has between SIGTERM and SIGKILL


def train_on_nodes(
    config: TrainConfig,
    *,
    policy: str,
    lists: str,
    trained: str,
    reference: str | None,
    job_name: str,
    image: str,
    namespace: str | None = None,
    run: str | None = None,
    runtime: str = RUNTIME,
    resources: Mapping[str, str] | None = None,
    deadline_s: int | None = None,
    queue: str | None = None,
    priority_class: str | None = None,
    poll_s: float = _POLL_S,
) -> None:
    """Train on `config.launch.nodes` machines as a TrainJob, and return when the policy is published at `trained`.

    A TrainJob of that name that runs already, as after a kill of the pod that followed it, is followed on; one that
    failed is replaced, and goes on from its newest checkpoint. The nodes' logs come as lines on standard error. On
    success, on SIGTERM and on an interrupt the TrainJob is deleted; after a failure it stays until `cleanup`.

    Args:
        config: as for `larpo train`; checkpoints are kept beside `trained` if it names no place.
        policy: s3:// URI of the behaviour policy.
        lists: s3:// URI of the lists.
        trained: s3:// URI of the policy to publish.
        reference: s3:// URI of a fixed reference, if there is one.
        job_name: name of the TrainJob; `larpo_lib.kubernetes.job_name` makes one of a run and a part of it.
        image: of the nodes.
        namespace: the pod's own, else the kubeconfig's, if not given.
        run: what `cleanup` finds the TrainJob by; `job_name` if not given.
        runtime: name of the TrainingRuntime.
        resources: what a node asks for and may use in place of the runtime's.
        deadline_s: seconds after which the cluster ends the TrainJob, whether anybody follows it or not.
        queue: of Kueue; `priority_class`: Kueue's, in that queue.
        poll_s: seconds between two looks at the TrainJob.

    Raises:
        ConfigError: a URI is not s3://, or the name cannot be a TrainJob's.
        ClusterError: the TrainJob failed (names the node, with its last lines), runs with other settings, was deleted
            by another, or the Kubernetes API refuses.
    """
    uris = Uris(policy, lists, trained, reference)
    job = train_job(
        config,
        uris,
        name=job_name,
        run=run or job_name,
        image=image,
        runtime=runtime,
        resources=resources,
        deadline_s=deadline_s,
        queue=queue,
        priority_class=priority_class,
    )
    cluster = Cluster(namespace)
    owner = cluster.owner()
    if owner is not None:  # it goes when the run goes
        job["metadata"]["ownerReferences"] = [owner]
    with _signals():
        try:
            _start(cluster, job, poll_s)
            _follow(cluster, job_name, poll_s)
        except (SystemExit, KeyboardInterrupt):
            cluster.patience_s = _FAREWELL_S
            cluster.delete(job_name)
            _tell(f"TrainJob {job_name}: stopped and deleted")
            raise
    cluster.delete(job_name)


def cleanup(run: str, namespace: str | None = None) -> int:
    """Delete all TrainJobs of a run, running or not; for the exit handler.

    Args:
        run: as given to `train_on_nodes`.
        namespace: the pod's own, else the kubeconfig's, if not given.

    Returns:
        How many there were.

    Raises:
        ClusterError: the Kubernetes API refuses.
    """
    cluster = Cluster(namespace)
    names = cluster.of_run(run)
    for name in names:
        cluster.delete(name)
        _tell(f"TrainJob {name}: deleted")
    return len(names)


def _start(cluster: Cluster, job: Mapping[str, Any], poll_s: float) -> None:
    """Have the TrainJob there: a new one, or the one that is at work already."""
    name = job["metadata"]["name"]
    while True:
        found = cluster.get(name)
        if found is None:
            if cluster.create(job):
                _tell(f"TrainJob {name}: started on {job['spec']['trainer']['numNodes']} nodes")
                return
            continue
        doing, _ = state(found)
        same = found["metadata"].get("annotations", {}).get(SPEC) == job["metadata"]["annotations"][SPEC]
        if doing in ("running", "complete") and same:
            _tell(f"TrainJob {name}: found, and followed on")
            return
        if doing == "running":
            raise ClusterError(
                f"TrainJob {name} in namespace {cluster.namespace} is at work with other settings",
                remedy="Let it end, delete it, or choose another name",
            )
        if doing != "leaving":
            _tell(f"TrainJob {name}: {doing}, and replaced")
            cluster.delete(name, wait=True)
        time.sleep(poll_s)


def _follow(cluster: Cluster, name: str, poll_s: float) -> None:
    """Hand on what the nodes write until the TrainJob has ended."""
    logs, notices = Logs(cluster, _tell), Notices(cluster, name, _tell)
    while True:
        job = cluster.get(name)  # before the pods, so that those of a TrainJob that has ended have ended
        doing, why = ("leaving", "") if job is None else state(job)
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
            raise ClusterError(f"TrainJob {name} was deleted by another", remedy="Run the same step again")
        time.sleep(poll_s)


def _raise_failure(name: str, why: str, nodes: list[Node], logs: Logs) -> NoReturn:
    first = first_failure(nodes)
    if first is None:
        raise ClusterError(f"TrainJob {name} failed: {why or 'it gives no reason'}")
    written = " | ".join(line.strip() for line in logs.last_lines(first) if line.strip())
    raise ClusterError(
        f"TrainJob {name} failed: node {first.rank} (pod {first.pod}) ended with {first.failure};"
        f" its last lines: {written or 'none'}"
    )


@contextmanager
def _signals() -> Iterator[None]:
    """Make SIGTERM an exception. Only the main thread may; elsewhere a kill leaves the TrainJob to `cleanup`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: Any) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)  # once is enough: the TrainJob is being deleted
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(text: str) -> None:
    stream = sys.stderr
    print(text, file=stream, flush=True)
