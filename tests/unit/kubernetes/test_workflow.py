"""What the workflow engine knows of a run."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from server_double import Asked, Reply, serve

from larpo_lib.errors import ClusterError
from larpo_lib.kubernetes.workflow import parse, read_workflow

ROUNDS = "larpo-x7z2k.root.exit-handler-1.loop.rounds.for-loop-1.iteration-iterations(1:1).iteration-item"
NODES: dict[str, Any] = {
    "larpo-x7z2k": {"type": "DAG", "name": "larpo-x7z2k", "phase": "Failed", "message": "child failed"},
    "a": {
        "type": "Pod",
        "name": f"{ROUNDS}.condition-2.sample-shares.for-loop-1.iteration-iterations(0:0).iteration-item.sample"
        ".executor(2)",
        "displayName": "executor",
        "phase": "Error",
        "message": "Back-off pulling image\n 'r/sampler:1': ErrImagePull",
    },
    "b": {"type": "Pod", "name": f"{ROUNDS}.gate-driver", "displayName": "gate-driver", "phase": "Failed"},
    "c": {"type": "Pod", "name": "larpo-x7z2k.root.exit-handler-1.start.executor", "phase": "Succeeded"},
}
LINES = [
    "loop / rounds / item 2 / sample-shares / item 1 / sample: Back-off pulling image 'r/sampler:1': ErrImagePull",
    "loop / rounds / item 2 / gate-driver: Failed, without a message",
]
"""Written by hand: the pods that failed, without the names that the engine adds around the pipeline's own."""


def packed(nodes: dict[str, Any]) -> str:
    return base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()


@pytest.mark.parametrize("status", [{"nodes": NODES}, {"compressedNodes": packed(NODES)}])
def test_pods_that_failed_are_named_by_their_place(status: dict[str, Any]) -> None:
    found = parse({"spec": {}, "status": status})
    assert found.failures == LINES
    assert not found.terminated


def test_a_run_that_somebody_ended_is_known() -> None:
    """As Kubeflow ends one: by its deadline."""
    assert parse({"spec": {"activeDeadlineSeconds": 0}, "status": {}}).terminated
    assert not parse({"spec": {"activeDeadlineSeconds": 3600}}).terminated


def test_many_failures_are_cut() -> None:
    nodes = {str(i): {"type": "Pod", "name": f"w.root.t{i:02}.executor", "phase": "Failed"} for i in range(25)}
    assert parse({"status": {"nodes": nodes}}).failures[-1] == "and 5 more"


def cluster(folder: Path, url: str) -> str:
    text = {
        "apiVersion": "v1", "kind": "Config", "current-context": "double",
        "clusters": [{"name": "double", "cluster": {"server": url}}],
        "users": [{"name": "double", "user": {"token": "very-secret-token"}}],
        "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double", "namespace": "larpo"}}],
    }  # fmt: skip
    (folder / "kubeconfig.json").write_text(json.dumps(text))
    return str(folder / "kubeconfig.json")


def test_it_is_asked_for_by_its_name_and_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def answer(asked: Asked) -> Reply:
        known = asked.path == "/apis/argoproj.io/v1alpha1/namespaces/larpo/workflows/larpo-x7z2k"
        refusal = {"kind": "Status", "message": "workflows.argoproj.io is forbidden"}
        return Reply({"spec": {}, "status": {"nodes": NODES}}) if known else Reply(refusal, status=403)

    with serve(answer) as server:
        monkeypatch.setenv("KUBECONFIG", cluster(tmp_path, server.url))
        assert read_workflow("larpo-x7z2k").failures == LINES
        with pytest.raises(ClusterError, match=r"cannot read workflow another: workflows\.argoproj\.io is forbidden"):
            read_workflow("another")
