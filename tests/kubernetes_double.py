"""A server that speaks as much of the Kubernetes API as a training over several machines needs."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loopback import Handler, served

TOKEN = "very-secret-token"
GROUP = "trainer.kubeflow.org"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


class Pod:
    """A node of a TrainJob, whose life a test writes."""

    def __init__(self, job: str, rank: int, changed: threading.Condition, owner: dict[str, Any] | None = None) -> None:
        self.name, self.uid = f"{job}-node-0-{rank}-{uuid.uuid4().hex[:5]}", uuid.uuid4().hex
        self._job, self._rank, self._changed, self._owner = job, rank, changed, owner
        self.status: dict[str, Any] = {"phase": "Pending"}
        self.lines: list[tuple[str, str]] = []
        self.gone = False
        self.attempt = 0

    @property
    def ended(self) -> bool:
        return self.gone or self.status["phase"] in ("Succeeded", "Failed")

    def waits(self, reason: str, message: str) -> None:
        self._set(
            {"phase": "Pending", "containerStatuses": [_container({"waiting": {"reason": reason, "message": message}})]}
        )

    def starts(self) -> None:
        self._set({"phase": "Running", "containerStatuses": [_container({"running": {"startedAt": _now()}})]})

    def writes(self, *lines: str) -> None:
        with self._changed:
            self.lines += [(_now(), line) for line in lines]
            self._changed.notify_all()

    def ends(self, code: int = 0, *, reason: str = "", after_s: int = 0) -> None:
        at = (datetime.now(UTC) + timedelta(seconds=after_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        reason = reason or ("Error" if code else "Completed")
        ended = _container({"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}})
        self._set({"phase": "Failed" if code else "Succeeded", "containerStatuses": [ended]})

    def is_evicted(self) -> None:
        self._set({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."})

    def as_json(self) -> dict[str, Any]:
        labels = {
            "jobset.sigs.k8s.io/jobset-name": self._job,
            "batch.kubernetes.io/job-completion-index": str(self._rank),
            "jobset.sigs.k8s.io/restart-attempt": str(self.attempt),
        }
        metadata = {"name": self.name, "namespace": "larpo", "uid": self.uid, "labels": labels}
        if self._owner:
            metadata["ownerReferences"] = [self._owner]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": self.status}

    def _set(self, status: dict[str, Any]) -> None:
        with self._changed:
            self.status = status
            self._changed.notify_all()


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "node", "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state}


class Api:
    """The cluster's state, and how it answers.

    Attributes:
        jobs: TrainJobs by name.
        created: manifests as they came.
        asked: (verb, API group, resource) of every request, as RBAC names them.
        failing: HTTP statuses to answer the next requests with; 0 breaks the connection.
        refused: (verb, resource) that are forbidden.
        has_trainer: whether TrainJobs are known.
        cut_after: log streams break after so many lines, once each number.
        events: what is told about objects.
        on_create: called with the name of a TrainJob that was created.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: list[Pod] = []
        self.created: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, str]] = []
        self.failing: list[int] = []
        self.refused: set[tuple[str, str]] = set()
        self.has_trainer = True
        self.cut_after: list[int] = []
        self.events: list[dict[str, Any]] = []
        self.on_create: Callable[[str], None] = lambda _name: None
        self.before_create: Callable[[], None] = lambda: None
        self.url = ""

    def add_pod(self, job: str, rank: int, owner: dict[str, Any] | None = None) -> Pod:
        with self.changed:
            self.pods.append(Pod(job, rank, self.changed, owner))
            return self.pods[-1]

    def remove_pod(self, pod: Pod) -> None:
        with self.changed:
            pod.gone = True
            self.pods.remove(pod)
            self.changed.notify_all()

    def add_job(self, manifest: dict[str, Any]) -> None:
        manifest["metadata"] |= {"uid": uuid.uuid4().hex, "namespace": "larpo"}
        self.jobs[manifest["metadata"]["name"]] = manifest

    def ends(self, job: str, kind: str, message: str = "") -> None:
        condition = {"type": kind, "status": "True", "message": message, "reason": "JobSet"}
        with self.changed:
            self.jobs[job]["status"] = {"conditions": [{**condition, "lastTransitionTime": _now()}]}

    def remove_job(self, name: str) -> None:
        with self.changed:
            self.jobs.pop(name, None)
            for pod in [pod for pod in self.pods if pod.name.startswith(f"{name}-node-")]:
                self.remove_pod(pod)

    def warns(self, kind: str, name: str, reason: str, message: str) -> None:
        """Tell a warning about an object, as its controller does."""
        about = {"kind": kind, "name": name, "namespace": "larpo"}
        metadata = {"name": f"{name}.{uuid.uuid4().hex[:8]}", "namespace": "larpo"}
        said = {"type": "Warning", "reason": reason, "message": message}
        with self.changed:
            self.events.append({"metadata": metadata, "involvedObject": about, **said})

    def wait_for(self, fact: Callable[[], Any], seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < until, "it never came"
            time.sleep(0.01)

    def kubeconfig(self, directory: Path) -> Path:
        parts = {
            "cluster": {"server": self.url},
            "user": {"token": TOKEN},
            "context": {"cluster": "double", "user": "double", "namespace": "larpo"},
        }
        lists = {f"{kind}s": [{"name": "double", kind: part}] for kind, part in parts.items()}
        path = directory / "kubeconfig.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "double", **lists}))
        return path


@contextmanager
def kubernetes_api() -> Iterator[Api]:
    """A double on a free port, until the block ends."""
    api = Api()

    class Answering(_Handler):
        state = api

    with served(Answering) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            for pod in list(api.pods):
                api.remove_pod(pod)


class _Handler(Handler):
    state: Api

    def answer(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.body()
        parts = url.path.strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._status(401, "Unauthorized")
            return
        # api/v1/namespaces/N/pods/... or apis/GROUP/VERSION/namespaces/N/trainjobs/...
        start = 2 if parts[0] == "api" else 3
        assert parts[start : start + 2] == ["namespaces", "larpo"], self.path
        resource, *rest = parts[start + 2 :]
        kind = "/".join([resource, *rest[1:]])
        verb = {"GET": "get" if rest else "list", "POST": "create", "DELETE": "delete"}[self.command]
        with self.state.changed:
            self.state.asked.append((verb, "" if start == 2 else parts[1], kind))
            failure = self.state.failing.pop(0) if self.state.failing else None
        if failure == 0:
            self.close_connection = True
        elif failure is not None:
            self._status(failure, "it is not well")
        elif (verb, kind) in self.state.refused:
            self._status(403, f'{kind} is forbidden: User "larpo-pipeline" cannot {verb} resource "{kind}"')
        elif resource == "trainjobs" and not self.state.has_trainer:
            self.send(404, b"404 page not found\n", {"Content-Type": "text/plain"})
        else:
            getattr(self, f"_{verb}_{kind.replace('/', '_')}")(*rest[:1], query=query, body=body)

    def _create_trainjobs(self, query: dict[str, str], body: bytes) -> None:
        self.state.before_create()
        manifest = json.loads(body)
        name = manifest["metadata"]["name"]
        with self.state.changed:
            if name in self.state.jobs:
                self._status(409, f'trainjobs "{name}" already exists', name)
                return
            self.state.created.append(json.loads(body))
            self.state.add_job(manifest)
        self._json(201, manifest)
        self.state.on_create(name)

    def _get_trainjobs(self, name: str, query: dict[str, str], body: bytes) -> None:
        with self.state.changed:
            job = self._found("trainjobs", name, self.state.jobs.get(name))
            if job is None:
                return
            self._json(200, job)
            if job["metadata"].get("deletionTimestamp"):  # its pods are gone by the next look
                self.state.remove_job(name)

    def _list_trainjobs(self, query: dict[str, str], body: bytes) -> None:
        wanted = dict(part.split("=") for part in query["labelSelector"].split(","))
        with self.state.changed:
            found = [job for job in self.state.jobs.values() if wanted.items() <= job["metadata"]["labels"].items()]
            self._json(200, {"items": found})

    def _delete_trainjobs(self, name: str, query: dict[str, str], body: bytes) -> None:
        with self.state.changed:
            job = self._found("trainjobs", name, self.state.jobs.get(name))
            if job is None:
                return
            if query["propagationPolicy"] == "Foreground":
                job["metadata"]["deletionTimestamp"] = _now()
            else:
                self.state.remove_job(name)
        self._json(200, {"kind": "Status", "status": "Success"})

    def _list_events(self, query: dict[str, str], body: bytes) -> None:
        name = query["fieldSelector"].removeprefix("involvedObject.name=")
        with self.state.changed:
            found = [event for event in self.state.events if event["involvedObject"]["name"] == name]
        self._json(200, {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": found})

    def _list_pods(self, query: dict[str, str], body: bytes) -> None:
        wanted = dict(part.split("=") for part in query["labelSelector"].split(","))
        with self.state.changed:
            pods = [pod.as_json() for pod in self.state.pods]
        found = [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()]
        self._json(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": found})

    def _get_pods(self, name: str, query: dict[str, str], body: bytes) -> None:
        if pod := self._pod(name):
            self._json(200, pod.as_json())

    def _get_pods_log(self, name: str, query: dict[str, str], body: bytes) -> None:
        if not (pod := self._pod(name)):
            return
        assert query["container"] == "node"
        assert query["timestamps"] == "True"
        since = datetime.now(UTC) - timedelta(seconds=int(query.get("sinceSeconds", 10**8)))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        cut = self.state.cut_after.pop(0) if self.state.cut_after else None
        sent = 0
        while True:
            with self.state.changed:
                if sent == len(pod.lines) and not pod.ended and query.get("follow") == "True":
                    self.state.changed.wait(0.2)
                lines, over = pod.lines[sent:], pod.ended or query.get("follow") != "True"
            for when, line in lines:
                if sent == cut:  # in the middle of a line, and without an end of the stream
                    self._chunk(f"{when} {line}"[:-1].encode())
                    self.close_connection = True
                    return
                if when >= since.strftime("%Y-%m-%dT%H:%M:%S"):
                    self._chunk(f"{when} {line}\n".encode())
                sent += 1
            if over and sent == len(pod.lines):
                self.wfile.write(b"0\r\n\r\n")
                return

    def _pod(self, name: str) -> Pod | None:
        with self.state.changed:
            return self._found("pods", name, next((pod for pod in self.state.pods if pod.name == name), None))

    def _found(self, kind: str, name: str, thing: Any) -> Any:
        """The thing itself; where there is none, that is answered."""
        if thing is None:
            self._status(404, f'{kind} "{name}" not found', name)
        return thing

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _status(self, code: int, message: str, name: str | None = None) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
        self._json(code, status | ({"details": {"name": name}} if name else {}))

    def _json(self, code: int, value: Any) -> None:
        self.send(code, json.dumps(value).encode(), {"Content-Type": "application/json"})
