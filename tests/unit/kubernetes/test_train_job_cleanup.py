"""What becomes of a TrainJob when whoever follows it ends, and what the role must allow for all of it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from kubernetes_double import GROUP, Api, Pod
from small_train_jobs import NAME, a_job, complete, of_workflow, owned, play, train, two_nodes

from larpo_lib.kubernetes import cleanup


def test_clean_up_deletes_what_is_left_of_a_run_and_no_more(api: Api) -> None:
    for name, run in (("larpo-a-train-1", "run-1"), ("larpo-a-train-2", "run-1"), ("larpo-b-train-1", "run-10")):
        api.add_job(a_job(name=name, run=run))
    api.ends("larpo-a-train-1", "Failed")
    assert cleanup("run-1") == 2
    assert list(api.jobs) == ["larpo-b-train-1"]
    assert cleanup("run-1") == 0


def test_clean_up_leaves_the_trainjobs_of_another_run_of_that_name(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in another root, or the same one submitted again; and one that somebody started by hand."""
    for name, uid in (("larpo-a-train-1", "u-1"), ("larpo-a-train-2", "u-2"), ("larpo-b-train-1", "u-2")):
        api.add_job(owned(uid, name=name))
    api.add_job(a_job(name="larpo-c-train-1"))
    monkeypatch.setenv("KFP_POD_NAME", of_workflow(api, "u-1"))
    assert cleanup("run-1") == 1
    assert list(api.jobs) == ["larpo-a-train-2", "larpo-b-train-1", "larpo-c-train-1"]


SCRIPT = textwrap.dedent(
    """
    from larpo_lib import logs
    from small_train_jobs import train
    logs.set_up()
    train()
    """
)


def _process() -> subprocess.Popen[str]:
    """The training followed by a process that is not this one."""
    paths = [os.path.dirname(__file__), *sys.path]  # noqa: PTH120
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stderr=subprocess.PIPE, text=True)


def _started(api: Api) -> subprocess.Popen[str]:
    process = _process()
    api.wait_for(lambda: ("get", "", "pods/log") in api.asked, 60)
    return process


def test_a_stop_takes_the_trainjob_with_it(api: Api) -> None:
    play(api, lambda job: two_nodes(api, job))
    process = _started(api)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"TrainJob {NAME}: stopped and deleted" in told
    assert "Traceback" not in told
    assert api.jobs == {}


def test_a_stop_leaves_the_trainjob_of_another_run_that_was_followed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", of_workflow(api, "u-1"))
    api.add_job(owned("u-2"))
    two_nodes(api, NAME)
    process = _started(api)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"TrainJob {NAME}: left to the run that started it" in told
    assert list(api.jobs) == [NAME]


def test_a_kill_leaves_the_trainjob_to_the_next_try(api: Api) -> None:
    nodes: list[Pod] = []
    play(api, lambda job: nodes.extend(two_nodes(api, job)))
    process = _started(api)
    process.kill()
    process.communicate(timeout=30)
    assert list(api.jobs) == [NAME]
    complete(api, NAME, *nodes)
    train()
    assert len(api.created) == 1
    assert api.jobs == {}


def test_the_role_allows_what_is_asked_for_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = api.add_pod("a-step", 0)
    monkeypatch.setenv("KFP_POD_NAME", pod.name)

    def scene(job: str) -> None:
        nodes = two_nodes(api, job)
        nodes[0].writes("line")
        complete(api, job, *nodes)

    play(api, scene)
    train()
    cleanup("run-1")
    documents = yaml.safe_load_all((Path(__file__).parents[3] / "k8s" / "base" / "roles.yaml").read_text())
    (role,) = [one for one in documents if one["kind"] == "Role" and one["metadata"]["name"] == "larpo-trainjobs"]
    allowed = {
        (verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert set(api.asked) == allowed
    assert {group for _, group, _ in allowed} == {"", GROUP}
