"""Who may reach whom, by the policies as they are built."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from built import KUSTOMIZATIONS, Document, allowed, build, one, pod_specs

HERE = {"kubernetes.io/metadata.name": "larpo"}
ELSEWHERE = {"kubernetes.io/metadata.name": "elsewhere"}
SYSTEM = {"kubernetes.io/metadata.name": "kube-system"}
KFP = {"application-crd-id": "kubeflow-pipelines"}

PIPELINE = {"labels": {"workflows.argoproj.io/workflow": "larpo-x"}, "namespace": HERE}
DNS = {"labels": {"k8s-app": "kube-dns"}, "namespace": SYSTEM}
KFP_SERVER = {"labels": KFP | {"app": "ml-pipeline"}, "namespace": HERE}
KFP_SERVER_ELSEWHERE = {"labels": KFP | {"app": "ml-pipeline"}, "namespace": ELSEWHERE}
STRANGER = {"labels": {"app": "stranger"}, "namespace": HERE}
STRANGER_ELSEWHERE = {"labels": {"workflows.argoproj.io/workflow": "other"}, "namespace": ELSEWHERE}
INTERNET = {"address": "192.0.2.1"}

pytestmark = pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)


def policies(kustomization: str) -> list[Document]:
    return [document for document in build(kustomization) if document["kind"] == "NetworkPolicy"]


def pod(kustomization: str, name: str) -> Document:
    return {"labels": dict(pod_specs(kustomization))[name]["metadata"]["labels"], "namespace": HERE}


def test_every_larpo_pod_is_in_the_default_denial(kustomization: str) -> None:
    rules = policies(kustomization)
    for name, _ in pod_specs(kustomization):
        assert not allowed(rules, STRANGER, pod(kustomization, name), 1234)
        assert not allowed(rules, pod(kustomization, name), INTERNET, 25)
    assert not allowed(rules, PIPELINE, INTERNET, 25)
    assert allowed(rules, STRANGER_ELSEWHERE, KFP_SERVER, 8888)  # Kubeflow's own are Kubeflow's to close


def test_what_a_pipeline_needs_it_reaches(kustomization: str) -> None:
    rules = policies(kustomization)
    tracking = urlsplit(one(kustomization, "ConfigMap", "larpo-env")["data"]["MLFLOW_TRACKING_URI"])
    assert tracking.hostname == "mlflow.larpo.svc.cluster.local"
    assert tracking.port is not None
    assert allowed(rules, PIPELINE, pod(kustomization, "mlflow"), tracking.port)
    assert allowed(rules, PIPELINE, DNS, 53, "UDP")
    assert allowed(rules, PIPELINE, {"address": "169.254.20.10"}, 53, "UDP")
    assert allowed(rules, PIPELINE, KFP_SERVER, 8888)
    assert allowed(rules, PIPELINE, KFP_SERVER_ELSEWHERE, 8080)
    assert allowed(rules, PIPELINE, INTERNET, 443)
    assert allowed(rules, PIPELINE, {"address": "10.96.0.1"}, 6443)  # the Kubernetes API behind its service


def test_s3_is_reached_by_all_that_use_it(kustomization: str) -> None:
    rules = policies(kustomization)
    store = urlsplit(one(kustomization, "ConfigMap", "larpo-env")["data"]["AWS_ENDPOINT_URL_S3"])
    inside = (store.hostname or "").endswith(".svc.cluster.local")
    target = KFP_SERVER if inside else INTERNET
    port = store.port or {"https": 443, "http": 80}[store.scheme]
    for source in (PIPELINE, pod(kustomization, "mlflow"), pod(kustomization, "larpo-deepspeed")):
        assert allowed(rules, source, target, port)


def test_training_nodes_reach_one_another_and_nobody_reaches_them(kustomization: str) -> None:
    rules, node = policies(kustomization), pod(kustomization, "larpo-deepspeed")
    for port in (29400, 40123):
        assert allowed(rules, node, node, port)
        assert not allowed(rules, PIPELINE, node, port)
        assert not allowed(rules, STRANGER_ELSEWHERE, node, port)
    assert allowed(rules, node, DNS, 53, "UDP")
    assert not allowed(rules, node, pod(kustomization, "postgres"), 5432)


def test_mlflow_and_its_database_are_closed_to_others(kustomization: str) -> None:
    rules, mlflow, postgres = (
        policies(kustomization),
        pod(kustomization, "mlflow"),
        pod(kustomization, "postgres"),
    )
    assert allowed(rules, mlflow, postgres, 5432)
    assert not allowed(rules, mlflow, postgres, 22)
    for source in (PIPELINE, STRANGER, STRANGER_ELSEWHERE, KFP_SERVER):
        assert not allowed(rules, source, postgres, 5432)
    for source in (STRANGER, STRANGER_ELSEWHERE, postgres):
        assert not allowed(rules, source, mlflow, 5000)
    assert not allowed(rules, postgres, INTERNET, 443)
