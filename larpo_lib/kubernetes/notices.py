"""What happens to a TrainJob beside what its nodes write, said once: waits, failures, starts anew, warnings."""

import time
from collections.abc import Callable, Sequence

from larpo_lib.errors import ClusterError
from larpo_lib.kubernetes.cluster import Cluster
from larpo_lib.kubernetes.manifests import NODE
from larpo_lib.kubernetes.status import Node, warning

_EVENTS_S = 20.0  # between two looks
_PODS = 3  # whose events are asked for: what keeps one from starting mostly keeps all


class Notices:
    """Says what happens to the TrainJob `name`.

    Args:
        cluster: where it is.
        name: of the TrainJob, which its JobSet shares.
        tell: called with each line.
    """

    def __init__(self, cluster: Cluster, name: str, tell: Callable[[str], None]) -> None:
        self._cluster, self._name, self._tell = cluster, name, tell
        self._waiting: dict[int, str] = {}
        self._failed: set[str] = set()
        self._attempt = 0
        self._warnings: set[str] = set()
        self._next_events: float | None = 0.0

    def look(self, nodes: Sequence[Node]) -> None:
        """Say what is new since the last look."""
        for node in nodes:
            self._say_waiting(node)
            if node.failure and node.uid not in self._failed:
                self._failed.add(node.uid)
                self._tell(f"node {node.rank}: pod {node.pod} ended with {node.failure}")
        attempt = max((node.attempt for node in nodes), default=0)
        if attempt > self._attempt:
            self._attempt = attempt
            self._tell(f"TrainJob {self._name}: all nodes are started again, for the {_ordinal(attempt)} time")
        self._look_at_events([node.pod for node in nodes if not node.started][:_PODS])

    def _say_waiting(self, node: Node) -> None:
        """An image that cannot be pulled, or a machine that is not there, would be waited for in silence."""
        if node.waiting != self._waiting.get(node.rank, ""):
            self._waiting[node.rank] = node.waiting
            if node.waiting:
                self._tell(f"node {node.rank}: is waiting: {node.waiting}")

    def _look_at_events(self, pods: Sequence[str]) -> None:
        """Say what the cluster warns of: without pods, as under a quota, nothing else would ever be heard.

        Args:
            pods: some that have not started; a volume that cannot be mounted is told of in their events only.
        """
        if self._next_events is None or time.monotonic() < self._next_events:
            return
        self._next_events = time.monotonic() + _EVENTS_S
        try:
            events = self._cluster.events((self._name, f"{self._name}-{NODE}-0", *pods))
        except ClusterError as error:
            self._next_events = None
            self._tell(f"TrainJob {self._name}: warnings of the cluster cannot be shown: {error}")
            return
        for said in filter(None, map(warning, events)):
            if said not in self._warnings:
                self._warnings.add(said)
                self._tell(f"TrainJob {self._name}: {said}")


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
