"""What happens to a TrainJob beside what its nodes write is said, once."""

import time

import pytest
from kubernetes_double import Api
from small_train_jobs import NAME, a_job, complete, play, train, two_nodes

from larpo_lib.errors import ClusterError
from larpo_lib.kubernetes import notices
from larpo_lib.kubernetes.cluster import Cluster

QUOTA = 'pods "x" is forbidden: exceeded quota: larpo, requested: requests.nvidia.com/gpu=8'


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_EVENTS_S", 0.05)


@pytest.mark.usefixtures("often")
def test_warnings_of_the_jobset_and_its_job_are_told_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def scene(job: str) -> None:
        api.warns("Job", "larpo-other-node-0", "FailedCreate", "of another training")
        api.warns("Job", f"{job}-node-0", "FailedCreate", QUOTA)
        api.warns("JobSet", job, "JobCreationFailed", 'requests: must be less than or equal to cpu limit of "2"')
        api.wait_for(lambda: api.asked.count(("list", "", "events")) > 8)
        complete(api, job, *two_nodes(api, job))

    play(api, scene)
    train()
    told = caplog.messages
    assert told.count(f"TrainJob {NAME}: Job {NAME}-node-0: FailedCreate: {QUOTA}") == 1
    assert sum("JobSet" in line and "must be less than or equal to cpu limit" in line for line in told) == 1
    assert not any("another training" in line for line in told)


@pytest.mark.usefixtures("often")
def test_a_volume_that_cannot_be_mounted_is_told_from_the_events_of_a_pod(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """The pod itself says ContainerCreating for as long as that lasts."""

    def scene(job: str) -> None:
        nodes = api.add_pod(job, 0), api.add_pod(job, 1)
        api.warns("Pod", nodes[0].name, "FailedMount", 'MountVolume.SetUp failed for volume "cache"')
        api.wait_for(lambda: api.asked.count(("list", "", "events")) > 12)
        for pod in nodes:
            pod.starts()
        complete(api, job, *nodes)

    play(api, scene)
    train()
    told = caplog.text
    assert told.count('FailedMount: MountVolume.SetUp failed for volume "cache"') == 1


def test_events_that_may_not_be_read_are_told_and_the_training_goes_on(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.refused = {("list", "events")}
    play(api, lambda job: complete(api, job, *two_nodes(api, job)))
    train()
    told = [line for line in caplog.messages if "warnings of the cluster cannot be shown" in line]
    assert len(told) == 1
    assert 'cannot list resource "events"' in told[0]


def test_why_nodes_are_started_anew_is_told(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def scene(job: str) -> None:
        first, second = two_nodes(api, job)
        second.ends(137, reason="OOMKilled")
        first.ends(1, after_s=1)
        time.sleep(0.3)  # several looks
        for pod in (first, second):
            api.remove_pod(pod)
        again = two_nodes(api, job)
        for pod in again:
            pod.attempt = 1
        time.sleep(0.3)
        complete(api, job, *again)

    play(api, scene)
    train()
    told = caplog.text
    assert told.count("ended with exit code 137 (OOMKilled)") == 1
    assert told.count(f"TrainJob {NAME}: all nodes are started again, for the first time") == 1


def test_a_log_that_may_not_be_read_is_told_once_with_the_missing_right(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.refused = {("get", "pods/log")}

    def scene(job: str) -> None:
        node, other = two_nodes(api, job)
        api.wait_for(lambda: api.asked.count(("get", "", "pods/log")) >= 4)
        complete(api, job, node, other)

    play(api, scene)
    train()
    told = [line for line in caplog.messages if "cannot be read" in line]
    assert sorted(told) == [
        f"node {rank}: its log cannot be read (403): the service account needs the permission to get pods/log"
        for rank in (0, 1)
    ]


def test_an_api_server_that_starts_and_refuses_for_a_moment_does_not_end_the_step(api: Api) -> None:
    cluster = Cluster()
    api.add_job(a_job())
    assert cluster.get(NAME) is not None
    api.failing = [401, 403, 503]
    assert cluster.get(NAME) is not None
    api.failing = [403] * 1000
    with pytest.raises(ClusterError, match="it is not well"):
        Cluster().get(NAME)  # never allowed: told at once
    assert len(api.failing) == 999


def test_a_node_asks_for_what_it_may_use_so_that_a_larger_request_of_the_runtime_does_not_stay() -> None:
    asked = {"memory": "16Gi", "nvidia.com/gpu": "1"}
    assert a_job(resources=asked)["spec"]["trainer"]["resourcesPerNode"] == {"limits": asked, "requests": asked}


def test_a_queue_of_kueue_is_named_in_the_labels() -> None:
    labels = a_job(queue="gpus", priority_class="high")["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "gpus"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"
    assert not any("kueue" in label for label in a_job()["metadata"]["labels"])
