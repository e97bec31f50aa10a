"""What the double of the Kubeflow Pipelines API holds, and how it answers one request.

Names, refusals and their texts are those of the real API server (kubeflow/pipelines, backend/src/apiserver).
"""

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

Json = dict[str, Any]

FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_KINDS: dict[str, Callable[[Any], bool]] = {
    "STRING": lambda value: isinstance(value, str),
    "NUMBER_INTEGER": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0,
    "NUMBER_DOUBLE": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "BOOLEAN": lambda value: isinstance(value, bool),
    "LIST": lambda value: isinstance(value, list),
    "STRUCT": lambda value: isinstance(value, dict),
}


class RefusedError(Exception):
    """A request that the API answers with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Asked:
    """One request as it came. `body` is parsed JSON, or a multipart form's file as text."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Plan:
    """What becomes of a run: a state for each time it is read (the last one stays), tasks and an error at its end.

    `tasks` are the API's task details; `error` its `google.rpc.Status` message.
    """

    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    tasks: list[Json] = field(default_factory=list)
    error: str = ""


@dataclass
class _Failure:
    pattern: str
    status: int
    message: str
    times: int
    after: int


class KfpApi:
    """The API's state. `fail` and `plan` say what happens next; `asked` is what has been asked."""

    def __init__(self, *, token: str | None, multi_user: bool, namespaces: tuple[str, ...]) -> None:
        self.url = ""
        self.token, self.multi_user, self.namespaces = token, multi_user, namespaces
        self.asked: list[Asked] = []
        self.plan = Plan()
        self.pipelines: dict[str, Json] = {}
        self.versions: dict[str, Json] = {}
        self.experiments: dict[str, Json] = {}
        self.runs: dict[str, Json] = {}
        self._plans: dict[str, tuple[Plan, Iterator[str]]] = {}
        self._failures: list[_Failure] = []
        self._lock = threading.Lock()
        self._made = 0

    def fail(self, pattern: str, status: int, message: str = "made to fail", times: int = 1, after: int = 0) -> None:
        """Answer `times` requests whose "METHOD path" matches `pattern` with `status`, behind the first `after`."""
        self._failures.append(_Failure(pattern, status, message, times, after))

    def paths(self, method: str) -> list[str]:
        """The paths that were asked with `method`, in order."""
        return [asked.path for asked in self.asked if asked.method == method]

    def answer(self, asked: Asked) -> Json:
        """The body of the answer to one request, or RefusedError."""
        with self._lock:
            self.asked.append(asked)
            self._fail_on_demand(asked)
            if not asked.path.endswith("/healthz"):
                self._authenticate(asked)
            for method, pattern, act in self._routes():
                found = re.fullmatch(pattern, asked.path)
                if method == asked.method and found:
                    return act(asked, *found.groups())
        raise RefusedError(404, "Not Found")

    def _routes(self) -> list[tuple[str, str, Callable[..., Json]]]:
        base, some = "(?:/pipeline)?/apis/v2beta1", "([^/:]+)"
        return [
            ("GET", f"{base}/healthz", lambda _: {"multi_user": self.multi_user, "pipeline_store": "database"}),
            ("POST", f"{base}/pipelines/upload", self._upload),
            ("POST", f"{base}/pipelines/upload_version", self._upload_version),
            ("POST", f"{base}/pipelines", self._create_pipeline),
            ("GET", f"{base}/pipelines", self._list_pipelines),
            ("GET", f"{base}/pipelines/{some}", lambda _, key: self._get("Pipeline", self.pipelines, key)),
            ("GET", f"{base}/pipelines/{some}/versions", self._list_versions),
            ("GET", f"{base}/pipelines/{some}/versions/{some}", self._get_version),
            ("POST", f"{base}/experiments", self._create_experiment),
            ("GET", f"{base}/experiments", self._list_experiments),
            ("GET", f"{base}/experiments/{some}", lambda _, key: self._get("Experiment", self.experiments, key)),
            ("POST", f"{base}/runs", self._create_run),
            ("GET", f"{base}/runs", lambda asked: self._list(asked, "runs", self.runs)),
            ("GET", f"{base}/runs/{some}", self._read_run),
            ("POST", f"{base}/runs/{some}:terminate", self._terminate),
        ]

    def _fail_on_demand(self, asked: Asked) -> None:
        for failure in self._failures:
            if failure.times == 0 or not re.search(failure.pattern, f"{asked.method} {asked.path}"):
                continue
            if failure.after:
                failure.after -= 1
            else:
                failure.times -= 1
                raise RefusedError(failure.status, failure.message)

    def _authenticate(self, asked: Asked) -> None:
        if self.token is not None and asked.headers.get("authorization") != f"Bearer {self.token}":
            raise RefusedError(
                401, "Failed to authorize with API: Request header error: there is no user identity header"
            )

    def _namespace(self, namespace: str, kind: str, verb: str, *, shared: bool = False) -> str:
        """The namespace that a request means; single-user mode has none."""
        if not self.multi_user or (shared and not namespace):
            return ""
        if not namespace:
            raise RefusedError(400, f"An {kind} cannot have an empty namespace in multi-user mode")
        if namespace not in self.namespaces:
            resource = f"(request: {{{namespace} {verb} pipelines.kubeflow.org v1beta1 {kind}s}})"
            raise RefusedError(403, f"User 'larpo@example.com' is not authorized with reason:  {resource}")
        return namespace

    def _stamp(self) -> str:
        """A time after every one before."""
        self._made += 1
        return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._made)).isoformat().replace("+00:00", "Z")

    @staticmethod
    def _get(kind: str, held: dict[str, Json], key: str) -> Json:
        if key not in held:
            raise RefusedError(404, f"{kind} {key} not found")
        return held[key]

    @staticmethod
    def _list(asked: Asked, name: str, held: dict[str, Json]) -> Json:
        """A page of what passes the request's filter, in the order it asks for."""
        rows = list(held.values())
        for predicate in json.loads(asked.query.get("filter") or "{}").get("predicates", []):
            if predicate["operation"] not in (1, "EQUALS"):
                raise RefusedError(400, "The double knows EQUALS only")
            rows = [row for row in rows if row.get(predicate["key"]) == predicate["stringValue"]]
        key, _, direction = (asked.query.get("sort_by") or "created_at").partition(" ")
        rows.sort(key=lambda row: str(row[key]), reverse=direction == "desc")
        first = int(asked.query.get("page_token") or 0)
        last = first + int(asked.query.get("page_size") or 20)
        page: Json = {name: rows[first:last]} if rows[first:last] else {}
        return {**page, "total_size": len(rows), **({"next_page_token": str(last)} if last < len(rows) else {})}

    def _list_pipelines(self, asked: Asked) -> Json:
        namespace = self._namespace(asked.query.get("namespace", ""), "pipeline", "list", shared=True)
        held = {key: row for key, row in self.pipelines.items() if row["namespace"] == namespace}
        return self._list(asked, "pipelines", held)

    def _create_pipeline(self, asked: Asked) -> Json:
        name = asked.body.get("name") or asked.body.get("display_name")
        return self._add_pipeline(name, asked.body.get("namespace", ""), asked.body.get("description", ""))

    def _add_pipeline(self, name: str, namespace: str, description: str) -> Json:
        namespace = self._namespace(namespace, "pipeline", "create", shared=True)
        if any((old["name"], old["namespace"]) == (name, namespace) for old in self.pipelines.values()):
            raise RefusedError(409, f"Failed to create a new pipeline. The name {name} already exist")
        key = str(uuid.uuid4())
        row = {"pipeline_id": key, "display_name": name, "name": name, "namespace": namespace}
        self.pipelines[key] = {**row, "description": description, "created_at": self._stamp()}
        return self.pipelines[key]

    def _add_version(self, pipeline: str, name: str, description: str, package: str) -> Json:
        spec = pipeline_spec(package)
        if any((old["pipeline_id"], old["name"]) == (pipeline, name) for old in self.versions.values()):
            raise RefusedError(409, "Failed to create a pipeline version")
        key = str(uuid.uuid4())
        row = {"pipeline_id": pipeline, "pipeline_version_id": key, "display_name": name, "name": name}
        self.versions[key] = {**row, "description": description, "created_at": self._stamp(), "pipeline_spec": spec}
        return self.versions[key]

    def _upload(self, asked: Asked) -> Json:
        query = asked.query
        pipeline_spec(asked.body)
        pipeline = self._add_pipeline(query["name"], query.get("namespace", ""), query.get("description", ""))
        self._add_version(pipeline["pipeline_id"], query["name"], query.get("description", ""), asked.body)
        return pipeline

    def _upload_version(self, asked: Asked) -> Json:
        key = asked.query.get("pipelineid", "")
        if key not in self.pipelines:
            raise RefusedError(400, "Failed to create a pipeline version")
        return self._add_version(key, asked.query["name"], asked.query.get("description", ""), asked.body)

    def _list_versions(self, asked: Asked, pipeline: str) -> Json:
        self._get("Pipeline", self.pipelines, pipeline)
        held = {key: row for key, row in self.versions.items() if row["pipeline_id"] == pipeline}
        return self._list(asked, "pipeline_versions", held)

    def _get_version(self, _: Asked, pipeline: str, version: str) -> Json:
        self._get("Pipeline", self.pipelines, pipeline)
        return self._get("PipelineVersion", self.versions, version)

    def _create_experiment(self, asked: Asked) -> Json:
        namespace = self._namespace(asked.body.get("namespace") or "", "experiment", "create")
        key, name = str(uuid.uuid4()), asked.body["display_name"]
        row = {"experiment_id": key, "display_name": name, "namespace": namespace, "storage_state": "AVAILABLE"}
        self.experiments[key] = {**row, "created_at": self._stamp()}
        return self.experiments[key]

    def _list_experiments(self, asked: Asked) -> Json:
        namespace = self._namespace(asked.query.get("namespace", ""), "experiment", "list")
        held = {key: row for key, row in self.experiments.items() if row["namespace"] == namespace}
        return self._list(asked, "experiments", held)

    def _create_run(self, asked: Asked) -> Json:
        run = dict(asked.body)
        self._get("Experiment", self.experiments, run.get("experiment_id", ""))
        reference = run.get("pipeline_version_reference")
        if reference:
            spec = self._get("PipelineVersion", self.versions, reference["pipeline_version_id"])["pipeline_spec"]
        else:
            spec = run["pipeline_spec"]
        check_parameters(spec.get("pipeline_spec", spec), run.get("runtime_config", {}).get("parameters", {}))
        key = str(uuid.uuid4())
        states = iter(self.plan.states)
        self._plans[key] = (self.plan, states)
        run |= {"run_id": key, "created_at": self._stamp(), "storage_state": "AVAILABLE"}
        self.runs[key] = run | {"state": "RUNTIME_STATE_UNSPECIFIED"}
        return self.runs[key]

    def _read_run(self, _: Asked, key: str) -> Json:
        run = self._get("Run", self.runs, key)
        plan, states = self._plans[key]
        run["state"] = next(states, run["state"])
        if run["state"] in FINAL:
            run["finished_at"] = run.get("finished_at") or self._stamp()
            run["run_details"] = {"task_details": plan.tasks}
            if plan.error:
                run["error"] = {"code": 13, "message": plan.error}
        return run

    def _terminate(self, _: Asked, key: str) -> Json:
        run = self._get("Run", self.runs, key)
        if run["state"] in FINAL:
            raise RefusedError(400, f"Failed to terminate a run. Run {key} has finished")
        self._plans[key] = (Plan(), iter(["CANCELING", "CANCELED"]))
        return {}


def pipeline_spec(package: str) -> Json:
    """What the API gives back of a package: its spec, or an object of two where it has a platform's part."""
    try:
        documents = [document for document in yaml.safe_load_all(package) if document]
    except yaml.YAMLError:
        documents = []
    if not documents or "root" not in documents[0]:
        raise RefusedError(400, "Failed to create a pipeline and a pipeline version: unknown template format")
    spec: Json = documents[0]
    return {"pipeline_spec": spec, "platform_spec": documents[1]} if documents[1:] else spec


def check_parameters(spec: Json, given: Json) -> None:
    """Refuse what the API server refuses: parameters that are unknown, missing or of another type."""
    declared: Json = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise RefusedError(400, f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")
    for name, one in declared.items():
        if name not in given:
            if not one.get("isOptional") and "defaultValue" not in one:
                needs = "is not optional, yet has neither default value nor user provided value"
                raise RefusedError(400, f"parameter {name} {needs}")
        elif not _KINDS[one["parameterType"]](given[name]):
            got = type(given[name]).__name__
            raise RefusedError(400, f"input parameter {name} requires type {one['parameterType']}, but got {got}")
