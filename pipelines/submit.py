"""Uploads compiled pipelines, starts runs of them, and follows a run to its end."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from larpo_kubeflow.pipelines.api import Json, PipelinesApi
from larpo_kubeflow.pipelines.package import Parameter, declared, read_package
from larpo_lib.errors import ConfigError, EndpointError, LarpoError
from larpo_lib.kubernetes.workflow import own_name

Tell = Callable[[str], None]

FINAL = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})
_GOOD = frozenset({"SUCCEEDED", "SKIPPED"})
_PATIENCE_S = 600.0
"""How long a server may be away while a run is followed."""


class StillRunningError(LarpoError):
    """The time to wait for a run is over; the run goes on."""


@dataclass(frozen=True)
class Source:
    """What a run is made from: the API's fields that name it, its name, and its parameters."""

    fields: dict[str, Any]
    name: str
    parameters: dict[str, Parameter]


@dataclass(frozen=True)
class Ending:
    """How a run ended: its final state and, where it failed, a line for each task that is to blame."""

    state: str
    causes: list[str]

    @property
    def good(self) -> bool:
        """Whether it did what it should."""
        return self.state in _GOOD


def git_version() -> str:
    """The commit of the working directory, with -dirty behind it if files differ from it.

    Raises:
        ConfigError: this is no checkout, or git is not there.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.CalledProcessError):
        raise ConfigError("cannot determine the version: no git commit here", remedy="Use --version NAME") from None
    return done.stdout.strip()


def upload(api: PipelinesApi, path: Path, *, name: str | None, version: str) -> tuple[str, bool]:
    """Make a package a version of a pipeline, which is created where it is missing.

    Args:
        path: the compiled package.
        name: of the pipeline; None: as the package calls itself.
        version: name of the version.

    Returns:
        The pipeline's name, and whether the version is new: one of this name with the same content is left as it is.

    Raises:
        LarpoError: the package is none, the API refused, or the version already exists with different content.
    """
    package = read_package(path)
    name, content = name or package.name, f"sha256 {package.digest}"
    create = api.pipelines.pipeline_service_create_pipeline
    pipeline = find_pipeline(api, name) or api.ask(create, pipeline=api.owned(name))
    there = _find_version(api, pipeline["pipeline_id"], version)
    if there is None:
        add = partial(api.uploads.upload_pipeline_version, str(path), pipelineid=pipeline["pipeline_id"])
        api.ask(add, name=version, description=content)
    elif content not in there.get("description", ""):
        problem = f"version '{version}' of pipeline '{name}' already exists with different content"
        raise ConfigError(problem, remedy="Commit the change, or use another --version")
    return name, there is None


def from_package(path: Path) -> Source:
    """A run of a local package, which is sent along."""
    package = read_package(path)
    return Source({"pipeline_spec": package.spec}, package.name, dict(package.parameters))


def from_version(api: PipelinesApi, name: str, version: str | None) -> Source:
    """A run of an uploaded version; None: the latest.

    Raises:
        ConfigError: there is no such pipeline or version.
    """
    pipeline = find_pipeline(api, name)
    if pipeline is None:
        remedy = "Upload it with `larpo pipeline upload`, or check --pipeline and --namespace"
        raise ConfigError(f"{api.endpoint}: has no pipeline '{name}'", remedy=remedy)
    found = _find_version(api, pipeline["pipeline_id"], version)
    if found is None:
        which = f"version '{version}'" if version else "version"
        remedy = "Upload it with `larpo pipeline upload`, or check --from-version"
        raise ConfigError(f"{api.endpoint}: pipeline '{name}' has no {which}", remedy=remedy)
    reference = {key: found[key] for key in ("pipeline_id", "pipeline_version_id")}
    shown = f"{name} {found['display_name']}"
    return Source({"pipeline_version_reference": reference}, shown, declared(found.get("pipeline_spec") or {}))


def require_experiment(api: PipelinesApi, name: str, *, create: bool) -> str:
    """Id of the experiment of that name, which is created where it is missing if `create`.

    Raises:
        ConfigError: there is none.
    """
    listed = api.experiments.experiment_service_list_experiments
    found = api.first("experiments", listed, name, namespace=api.namespace)
    if found is None:
        if not create:
            remedy = "Check --experiment and --namespace, or use --create-experiment"
            raise ConfigError(f"{api.endpoint}: has no experiment '{name}'", remedy=remedy)
        found = api.ask(api.experiments.experiment_service_create_experiment, experiment=api.owned(name))
    return str(found["experiment_id"])


def find_pipeline(api: PipelinesApi, name: str) -> Json | None:
    """The pipeline of that name: the namespace's own, else the one that all namespaces share."""
    listed = api.pipelines.pipeline_service_list_pipelines
    found = (api.first("pipelines", listed, name, namespace=place) for place in dict.fromkeys((api.namespace, None)))
    return next((one for one in found if one), None)


def _find_version(api: PipelinesApi, pipeline: str, name: str | None) -> Json | None:
    """The version of that name of a pipeline given by its id, with its spec; None: the latest."""
    listed = partial(api.pipelines.pipeline_service_list_pipeline_versions, pipeline)
    return api.first("pipeline_versions", listed, name, sort_by="created_at desc", page_size=1)


def follow(
    api: PipelinesApi,
    run: str,
    tell: Tell,
    *,
    timeout_s: float | None = None,
    interval_s: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Ending:
    """Read a run's state until it is final; tell of each change of it and of its tasks.

    A server that is away for less than ten minutes is waited for.

    Raises:
        StillRunningError: `timeout_s` have passed.
        EndpointError: the API refused, or was away for too long.
    """
    began = answered = clock()
    told: dict[str, str] = {}
    away = False
    while True:
        try:
            now = api.ask(api.runs.run_service_get_run, run_id=run)
            answered, away = clock(), False
        except EndpointError as error:
            if not error.transient or clock() - answered > _PATIENCE_S:
                raise
            if not away:
                tell(f"{error.problem}; retrying")
            away, now = True, Json()
        for key, (what, state) in _states(now).items():
            if told.get(key) != state:
                told[key] = state
                tell(f"{clock() - began:.0f} s: {what} {state}")
        if now.get("state") in FINAL:
            return Ending(now["state"], failures(now))
        if timeout_s is not None and clock() - began >= timeout_s:
            problem = f"run {run} is {told.get('', 'of unknown state')} after {timeout_s:g} s and continues"
            raise StillRunningError(problem, remedy=how_to_go_on(run))
        sleep(interval_s)


def how_to_go_on(run: str) -> str:
    """What to type to follow a run again or to end it."""
    return f"Follow it with `larpo pipeline wait {run}`, end it with `larpo pipeline terminate {run}`"


def failures(run: Json) -> list[str]:
    """A line for each task that failed by itself, not because one inside it did; the run's own error without any."""
    failed = {key: task for key, task in _tasks(run).items() if task.get("state") == "FAILED"}
    parents = _parents(failed)
    lines: list[str] = []
    for key in sorted(failed.keys() - set(parents.values())):
        path = [key]
        while parents.get(path[-1], key) not in path:
            path.append(parents[path[-1]])
        names = [_name(failed[one]) for one in reversed(path)]
        own = list(filter(None, map(_own, names[names.index("root") + 1 if "root" in names else 0 :])))
        if own or not lines:
            lines.append(f"task '{' / '.join(own or names[-1:])}': {_said(failed[key]) or 'no message; see its log'}")
    return lines or [said for said in (_said(run),) if said]


def _states(run: Json) -> dict[str, tuple[str, str]]:
    """The run's state under '', and that of each task of the pipeline's own by its id."""
    if not run:
        return {}
    own = {key: (_own(_name(task)), task.get("state")) for key, task in _tasks(run).items()}
    tasks = {key: (f"task '{name}'", str(state)) for key, (name, state) in own.items() if name and state}
    return {"": ("run", str(run["state"]))} | tasks


def _tasks(run: Json) -> dict[str, Json]:
    """The run's task details by their ids."""
    details = (run.get("run_details") or {}).get("task_details") or []
    return {str(task.get("task_id") or task.get("pod_name") or number): task for number, task in enumerate(details)}


def _parents(tasks: dict[str, Json]) -> dict[str, str]:
    """Id of the parent of each task that has one among `tasks`. Children are named by their ids or their pods."""
    keys = {str(task["pod_name"]): key for key, task in tasks.items() if task.get("pod_name")} | {
        key: key for key in tasks
    }
    found = {
        keys[str(child)]: key
        for key, task in tasks.items()
        for one in task.get("child_tasks") or []
        if (child := one.get("task_id") or one.get("pod_name")) in keys
    }
    return found | {key: keys[up] for key, task in tasks.items() if (up := task.get("parent_task_id")) in keys}


def _name(task: Json) -> str:
    return str(task.get("display_name") or "")


def _own(name: str) -> str:
    """A task's name; "" for what the engine adds around the pipeline's own. A driver has no log of interest."""
    own = own_name(name)
    return "" if own.endswith("-driver") else own


def _said(thing: Json) -> str:
    """The message of a run's or a task's error, or of the last of its states that has one; in one line."""
    history = [status.get("error") for status in reversed(thing.get("state_history") or [])]
    messages = (str(error["message"]) for error in (thing.get("error"), *history) if error and error.get("message"))
    return " ".join(next(messages, "").split())[:500]
