"""A TrainJob is started once, and followed line by line, whatever happens on the way."""

import threading
from typing import Any

import pytest
from kubernetes_double import Api
from small_train_jobs import NAME, WORKFLOW, a_job, complete, of_workflow, owned, play, train, two_nodes

from larpo_lib.errors import ClusterError, ConfigError


def test_lines_of_all_nodes_are_handed_on_and_the_trainjob_goes(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def scene(job: str) -> None:
        first, second = two_nodes(api, job)
        for step in range(5):
            first.writes(f"step {step} of 5", "")
            second.writes(f"für {step}")
        complete(api, job, first, second)

    play(api, scene)
    train()
    told = caplog.messages
    assert [line for line in told if line.startswith("node 0: s")] == [f"node 0: step {i} of 5" for i in range(5)]
    assert [line for line in told if line.startswith("node 1: f")] == [f"node 1: für {i}" for i in range(5)]
    assert api.jobs == {}
    (job,) = api.created
    assert job["spec"]["trainer"]["numNodes"] == 2
    assert job["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "larpo", "larpo.dev/run": "run-1"}


def test_a_failure_names_the_first_node_and_its_last_lines(api: Api) -> None:
    def scene(job: str) -> None:
        first, second = two_nodes(api, job)
        second.writes("loading", "larpo: s3://b/lists: no list is left to train on.")
        second.ends(2)
        first.writes("Connection reset by peer")
        first.ends(1, after_s=1)
        api.ends(job, "Failed", "jobset failed due to one or more job failures")

    play(api, scene)
    expected = (
        rf"^TrainJob {NAME} failed: node 1 \(pod {NAME}-node-0-1-\w+\) ended with exit code 2; "
        r"its last lines: loading \| larpo: s3://b/lists: no list is left to train on\.$"
    )
    with pytest.raises(ClusterError, match=expected):
        train()
    assert list(api.jobs) == [NAME]  # for a look


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda node: node.ends(137, reason="OOMKilled"), r"node 0 .* ended with exit code 137 \(OOMKilled\)"),
        (lambda node: node.is_evicted(), "node 0 .* ended with Evicted"),
    ],
)
def test_how_a_node_ended_is_told(api: Api, end: Any, said: str) -> None:
    def scene(job: str) -> None:
        node, other = two_nodes(api, job)
        end(node)
        other.ends(1, after_s=1)
        api.ends(job, "Failed")

    play(api, scene)
    with pytest.raises(ClusterError, match=said):
        train()


def test_a_node_that_was_stopped_within_the_same_second_is_not_blamed(api: Api) -> None:
    def scene(job: str) -> None:
        first, second = two_nodes(api, job)
        first.ends(143)
        second.ends(2)
        first.status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = "2026-01-01T00:00:00Z"
        second.status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = "2026-01-01T00:00:00Z"
        api.ends(job, "Failed")

    play(api, scene)
    with pytest.raises(ClusterError, match=r"node 1 .* ended with exit code 2"):
        train()


def test_a_failure_without_pods_gives_the_trainjobs_reason(api: Api) -> None:
    play(api, lambda job: api.ends(job, "Failed", "the deadline is over"))
    with pytest.raises(ClusterError, match="failed: the deadline is over"):
        train()


def test_a_trainjob_that_runs_is_followed_and_not_started_again(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.add_job(a_job())
    nodes = two_nodes(api, NAME)
    nodes[0].writes("long before")
    complete(api, NAME, *nodes)
    train()
    assert api.created == []
    assert "node 0: long before" in caplog.text
    assert api.jobs == {}


def test_a_trainjob_that_another_process_starts_meanwhile_is_followed(api: Api) -> None:
    def meanwhile() -> None:
        api.add_job(a_job())
        complete(api, NAME)

    api.before_create = meanwhile
    train()
    assert api.created == []


def test_one_that_failed_is_replaced(api: Api) -> None:
    api.add_job(a_job())
    api.ends(NAME, "Failed", "out of memory")
    play(api, lambda job: complete(api, job, *two_nodes(api, job)))
    train()
    assert len(api.created) == 1


def test_one_with_other_settings_is_left_alone_while_it_runs(api: Api) -> None:
    api.add_job(a_job(image="larpo-trainer:2"))
    with pytest.raises(ClusterError, match=f"TrainJob {NAME} in namespace larpo is running with other settings"):
        train()
    assert list(api.jobs) == [NAME]
    api.ends(NAME, "Complete")  # its result is not what is wanted now
    play(api, lambda job: complete(api, job))
    train()
    assert [job["spec"]["trainer"]["image"] for job in api.created] == ["larpo-trainer:1"]


def test_one_that_another_deletes_ends_the_step(api: Api) -> None:
    def scene(job: str) -> None:
        two_nodes(api, job)
        api.remove_job(job)

    play(api, scene)
    with pytest.raises(ClusterError, match=f"TrainJob {NAME} was deleted by someone else"):
        train()


def test_nodes_that_are_started_anew_are_followed_too(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def scene(job: str) -> None:
        nodes = two_nodes(api, job)
        nodes[0].writes("step 1")
        nodes[1].ends(1)
        api.wait_for(lambda: api.asked.count(("get", "", "pods/log")) >= 2)
        for node in nodes:
            api.remove_pod(node)
        again = two_nodes(api, job)
        again[0].writes("going on from step 1")
        complete(api, job, *again)

    play(api, scene)
    train()
    told = caplog.text
    assert told.index("node 0: step 1") < told.index("node 0: going on from step 1")
    assert told.count("node 0: runs in pod") == 2


def test_what_a_node_waits_for_is_told_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def scene(job: str) -> None:
        nodes = api.add_pod(job, 0), api.add_pod(job, 1)
        nodes[0].waits("ContainerCreating", "")
        nodes[1].waits("ImagePullBackOff", "Back-off pulling image larpo-trainer:1")
        looks = len(api.asked)
        api.wait_for(lambda: len(api.asked) > looks + 10)
        complete(api, job, *nodes)

    play(api, scene)
    train()
    waits = [line for line in caplog.messages if "is waiting" in line]
    assert waits == ["node 1: is waiting: ImagePullBackOff: Back-off pulling image larpo-trainer:1"]


def test_a_log_that_is_cut_off_again_and_again_comes_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.cut_after = [3, 5, 11]

    def scene(job: str) -> None:
        node = api.add_pod(job, 0)
        node.starts()
        for number in range(20):
            node.writes(f"line {number}", "the same")
        complete(api, job, node)

    play(api, scene)
    train()
    told = [line for line in caplog.messages if line.startswith(("node 0: l", "node 0: t"))]
    assert told == [text for i in range(20) for text in (f"node 0: line {i}", "node 0: the same")]
    assert api.cut_after == []


def test_local_paths_are_refused_before_anything_is_asked(api: Api) -> None:
    with pytest.raises(ConfigError, match="lists is 'runs/lists', which other machines cannot reach"):
        train(lists="runs/lists")
    assert api.asked == []


def test_the_trainjob_belongs_to_the_pipelines_workflow(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", of_workflow(api, "u-1"))
    play(api, lambda job: complete(api, job))
    train()
    assert api.created[0]["metadata"]["ownerReferences"] == [{**WORKFLOW, "uid": "u-1"}]
    assert api.jobs == {}


@pytest.mark.parametrize(("uid", "left"), [("u-1", []), ("u-2", [NAME])])
def test_a_trainjob_that_was_found_is_deleted_only_by_the_workflow_that_started_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, uid: str, left: list[str]
) -> None:
    monkeypatch.setenv("KFP_POD_NAME", of_workflow(api, "u-1"))
    api.add_job(owned(uid))
    complete(api, NAME, *two_nodes(api, NAME))
    train()
    assert (api.created, list(api.jobs)) == ([], left)


def test_where_the_run_that_was_followed_ends_first_another_try_starts_a_trainjob_of_its_own(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_POD_NAME", of_workflow(api, "u-1"))
    api.add_job(owned("u-2"))
    node, _ = two_nodes(api, NAME)
    node.writes("step 1")

    def end() -> None:
        api.wait_for(lambda: ("get", "", "pods/log") in api.asked)
        api.remove_job(NAME)

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(ClusterError, match="was deleted by someone else") as raised:
        train()
    ending.join()
    assert raised.value.transient
    play(api, lambda job: complete(api, job))
    train()
    assert api.created[0]["metadata"]["ownerReferences"] == [{**WORKFLOW, "uid": "u-1"}]
