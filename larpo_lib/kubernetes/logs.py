"""Hands on what the nodes write, line by line, over connections that may break."""

import codecs
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from threading import Event, Thread

from larpo_lib.kubernetes.cluster import Cluster
from larpo_lib.kubernetes.status import Node

_AGAIN_S, _BROKEN_S = 1.0, 0.2
_OVERLAP_S = 60  # clocks of two machines may differ by so much
_LAST_LINES = 10
_STARTS_S, _UNREADABLE_S = 2.0, 30.0  # before another try where reading is forbidden
_FAREWELL_S = 30.0


class Logs:
    """Follows every node from its start to its end, in a thread each.

    Args:
        cluster: where the nodes are.
        tell: called with each line; from several threads.
    """

    def __init__(self, cluster: Cluster, tell: Callable[[str], None]) -> None:
        self._cluster, self._tell = cluster, tell
        self._followers: dict[str, _Follower] = {}

    def follow(self, nodes: Iterable[Node]) -> None:
        """Follow those that have started, and let go of those that have ended once all is read."""
        for node in nodes:
            if node.started and node.uid not in self._followers:
                self._tell(f"node {node.rank}: runs in pod {node.pod}")
                self._followers[node.uid] = _Follower(self._cluster, node, self._tell)
            if node.ended and node.uid in self._followers:
                self._followers[node.uid].ended.set()

    def last_lines(self, node: Node) -> list[str]:
        """The last lines that a node wrote; none if it never started."""
        follower = self._followers.get(node.uid)
        return list(follower.last) if follower else []

    def close(self) -> None:
        """Read what is left."""
        until = time.monotonic() + _FAREWELL_S
        for follower in self._followers.values():
            follower.ended.set()
        for follower in self._followers.values():
            follower.thread.join(max(0.0, until - time.monotonic()))
            follower.given_up.set()


class _Follower:
    def __init__(self, cluster: Cluster, node: Node, tell: Callable[[str], None]) -> None:
        self._cluster, self._node, self._tell = cluster, node, tell
        self.ended, self.given_up = Event(), Event()
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._lines = NewLines()
        self._denials = 0
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        while not self.given_up.is_set():
            final = self.ended.is_set()  # what is read after this is all that there is
            try:
                pieces = self._cluster.log(self._node.pod, follow=not final, since_s=self._lines.age_s())
                for line in self._lines.of(pieces):
                    self.last.append(line)
                    self._tell(f"node {self._node.rank}: {line}")
            except ApiException as error:
                if error.status == 404:  # the pod is gone, and its log with it
                    return
                if error.status in (401, 403):
                    self._denied(error.status)
            except HTTPError:  # silent for long, or cut off: go on from where it was
                self.given_up.wait(_BROKEN_S)
                continue
            if final:
                return
            self.ended.wait(_AGAIN_S)

    def _denied(self, status: int) -> None:
        """Wait, and say it once if it was more than an API server that starts; the training goes on unread."""
        self._denials += 1
        if self._denials == 2:
            self._tell(
                f"node {self._node.rank}: its log cannot be read ({status}): the service account needs the "
                "permission to get pods/log"
            )
        self.ended.wait(_STARTS_S if self._denials == 1 else _UNREADABLE_S)


class NewLines:
    """Takes lines behind their times from streams that overlap, and gives each line once."""

    def __init__(self) -> None:
        self._time = ""
        self._at_that_time: set[str] = set()

    def age_s(self) -> int | None:
        """From how many seconds ago a stream must reach so that none is missed; None: from the start."""
        if not self._time:
            return None
        seconds = datetime.fromisoformat(self._time[:19]).replace(tzinfo=UTC)
        return max(0, int((datetime.now(UTC) - seconds).total_seconds())) + _OVERLAP_S

    def of(self, pieces: Iterable[bytes]) -> Iterator[str]:
        """The lines of a stream that no earlier one had, without their times."""
        for text in _lines(pieces):
            when, _, line = text.partition(" ")
            if when < self._time or (when == self._time and line in self._at_that_time):
                continue
            if when > self._time:
                self._time, self._at_that_time = when, set()
            self._at_that_time.add(line)
            yield line


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Whole lines; a last one that was cut off comes again with the next stream."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    pending = ""
    for piece in pieces:
        *whole, pending = (pending + decode(piece)).split("\n")
        yield from whole
