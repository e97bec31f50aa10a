"""A run is followed to its end, and what failed is named."""

from typing import Any

import pytest
from services.kfp_state import KfpApi, Plan

from larpo_kubeflow.pipelines.api import PipelinesApi
from larpo_kubeflow.pipelines.submit import StillRunningError, failures, follow, require_experiment
from larpo_lib.errors import EndpointError

Json = dict[str, Any]


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def start(server: KfpApi, plan: Plan) -> tuple[PipelinesApi, str]:
    """A client, and the id of a run that will do what is planned."""
    server.plan = plan
    api = PipelinesApi(server.url, token=lambda: None)
    experiment = require_experiment(api, "e", create=True)
    run = {"display_name": "r", "experiment_id": experiment, "pipeline_spec": {"root": {}}}
    return api, api.ask(api.runs.run_service_create_run, run=run)["run_id"]


def test_every_change_is_told_once(server: KfpApi) -> None:
    tasks = [{"task_id": "1", "display_name": "train", "state": "SUCCEEDED"}]
    api, run = start(server, Plan(["PENDING", "PENDING", "RUNNING", "RUNNING", "SUCCEEDED"], tasks))
    clock, lines = Clock(), list[str]()
    ending = follow(api, run, lines.append, interval_s=5, clock=clock, sleep=clock.sleep)
    assert ending.good
    assert (ending.state, ending.causes) == ("SUCCEEDED", [])
    assert lines == ["0 s: run PENDING", "10 s: run RUNNING", "20 s: run SUCCEEDED", "20 s: task 'train' SUCCEEDED"]


@pytest.mark.parametrize(("state", "good"), [("FAILED", False), ("CANCELED", False), ("SKIPPED", True)])
def test_the_end_is_good_or_not(state: str, good: bool, server: KfpApi) -> None:
    api, run = start(server, Plan(["RUNNING", state], error="no quota for GPUs"))
    clock = Clock()
    ending = follow(api, run, lambda _: None, clock=clock, sleep=clock.sleep)
    assert (ending.state, ending.good, ending.causes) == (state, good, ["no quota for GPUs"])


def test_a_wait_ends_at_its_time(server: KfpApi) -> None:
    api, run = start(server, Plan(["RUNNING"]))
    clock = Clock()
    with pytest.raises(StillRunningError, match=f"run {run} is RUNNING after 25 s and continues. Follow it with"):
        follow(api, run, lambda _: None, timeout_s=25, clock=clock, sleep=clock.sleep)
    assert clock.now == 30


def test_a_server_that_is_away_for_a_while_is_waited_for(server: KfpApi) -> None:
    api, run = start(server, Plan(["RUNNING", "SUCCEEDED"]))
    server.fail("GET .*/runs/", 503, "upstream connect error", times=59)
    clock, lines = Clock(), list[str]()
    assert follow(api, run, lines.append, clock=clock, sleep=clock.sleep).good
    assert lines[0] == f"{server.url}: answered 503: upstream connect error; retrying"
    assert lines[1:] == ["590 s: run RUNNING", "600 s: run SUCCEEDED"]


def test_but_not_for_ever(server: KfpApi) -> None:
    api, run = start(server, Plan(["RUNNING"]))
    server.fail("GET .*/runs/", 503, times=1000)
    clock = Clock()
    with pytest.raises(EndpointError, match="answered 503"):
        follow(api, run, lambda _: None, clock=clock, sleep=clock.sleep)
    assert 600 < clock.now <= 620


def test_a_refusal_is_not_waited_for(server: KfpApi) -> None:
    api, run = start(server, Plan(["RUNNING"]))
    server.fail("GET .*/runs/", 403)
    clock = Clock()
    with pytest.raises(EndpointError, match="answered 403"):
        follow(api, run, lambda _: None, clock=clock, sleep=clock.sleep)
    assert clock.now == 0


def task(key: str, name: str, state: str = "FAILED", *, pods: list[str] | None = None, **more: Any) -> Json:
    """Task details as the API gives them; it names children by their pods."""
    children = [{"pod_name": pod} for pod in pods or []]
    return {
        "task_id": key,
        "pod_name": f"pod-{key}",
        "display_name": name,
        "state": state,
        "child_tasks": children,
    } | more


def test_the_task_that_failed_by_itself_is_named_with_its_place() -> None:
    message = {"code": 13, "message": "main: Error (exit code 2):\n  out of memory"}
    tasks = [
        task("a", "larpo-x7z2k", pods=["pod-b"]),
        task("b", "root", pods=["pod-c", "pod-g"]),
        task("c", "round 1", pods=["pod-h"]),
        task("h", "for-loop-2", pods=["pod-i"]),
        task("i", "iteration-iterations(1:1)", pods=["pod-d"]),
        task("d", "train", pods=["pod-e", "pod-f"]),
        task("e", "train-driver", "SUCCEEDED"),
        task("f", "executor", error=message),
        task("g", "report", "SUCCEEDED"),
    ]
    run = {"state": "FAILED", "run_details": {"task_details": tasks}, "error": {"message": "the run failed"}}
    assert failures(run) == ["task 'round 1 / item 2 / train': main: Error (exit code 2): out of memory"]


def test_parents_may_be_named_by_ids_and_errors_may_stand_in_the_history() -> None:
    history = [{"state": "RUNNING"}, {"state": "FAILED", "error": {"message": "killed"}}, {"state": "FAILED"}]
    tasks = [task("a", "root"), task("b", "sample", parent_task_id="a", state_history=history)]
    assert failures({"run_details": {"task_details": tasks}}) == ["task 'sample': killed"]


def test_without_links_the_engines_own_tasks_are_left_out() -> None:
    tasks = [{"display_name": name, "state": "FAILED"} for name in ("root", "executor(1)", "rerank")]
    assert failures({"run_details": {"task_details": tasks}})[-1] == "task 'rerank': no message; see its log"


def test_a_circle_of_tasks_does_not_hang() -> None:
    tasks = [task("a", "one", pods=["pod-b"]), task("b", "two", pods=["pod-a"]), task("c", "three", parent_task_id="c")]
    assert failures({"run_details": {"task_details": tasks}}) == []


def test_a_run_without_task_details_has_its_own_error() -> None:
    assert failures({"state": "FAILED", "error": {"message": "bad spec"}}) == ["bad spec"]
    assert failures({"state": "FAILED", "run_details": None, "error": None}) == []
