"""A cluster that is unwell is asked again; one that refuses is told of with a remedy and no secret."""

from typing import Any

import pytest
from kubernetes_double import TOKEN, Api
from small_train_jobs import NAME, complete, play, train, two_nodes

from larpo_lib.errors import ClusterError
from larpo_lib.kubernetes.cluster import Cluster


def test_a_cluster_that_is_unwell_for_a_while_is_asked_again(api: Api) -> None:
    api.failing = [503, 0, 500, 429]
    play(api, lambda job: complete(api, job, *two_nodes(api, job)))
    train()
    assert api.failing == []
    assert len(api.created) == 1


def test_a_cluster_that_stays_unwell_is_told_of(api: Api) -> None:
    api.failing = [503] * 20
    with pytest.raises(ClusterError, match="namespace larpo: cannot read a TrainJob: it is not well"):
        Cluster(patience_s=0.5).get(NAME)
    api.failing = [0] * 200
    with pytest.raises(ClusterError, match=r"the Kubernetes API cannot be reached .* run the same step again"):
        Cluster(patience_s=0.5).get(NAME)


def test_what_is_forbidden_is_told_without_the_token(api: Api) -> None:
    api.refused = {("create", "trainjobs")}
    with pytest.raises(ClusterError) as raised:
        train()
    assert str(raised.value) == (
        'namespace larpo: cannot create a TrainJob: trainjobs is forbidden: User "larpo-pipeline" cannot create'
        ' resource "trainjobs". Apply k8s/base, and run the pipeline with the service account larpo-pipeline.'
    )
    assert TOKEN not in repr(raised.getrepr(chain=True))


def test_a_cluster_without_kubeflow_trainer_is_told_of(api: Api) -> None:
    api.has_trainer = False
    with pytest.raises(ClusterError, match=r"cannot read a TrainJob: it answers 404 .*Install Kubeflow Trainer v2"):
        train()


def test_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(
        ClusterError, match=r"no Kubernetes cluster to train on\. Run in a pipeline's pod, or set KUBECONFIG"
    ):
        train()
