"""Who may reach whom, by the policies as they are built."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from built import KUSTOMIZATIONS, Document, allowed, build, namespace, one, pod_specs

from larpo_lib.kubernetes.serving import Served, deployment, inference_service

ELSEWHERE = {"kubernetes.io/metadata.name": "elsewhere"}
SYSTEM = {"kubernetes.io/metadata.name": "kube-system"}
OPENSHIFT = {"kubernetes.io/metadata.name": "openshift-dns"}
KFP = {"application-crd-id": "kubeflow-pipelines"}
WORKFLOW = {"workflows.argoproj.io/workflow": "x"}
API_SERVER = {"address": "10.96.0.1"}

DNS = {"labels": {"k8s-app": "kube-dns"}, "namespace": SYSTEM}
DNS_OF_OPENSHIFT = {"labels": {"dns.operator.openshift.io/daemonset-dns": "default"}, "namespace": OPENSHIFT}
KFP_SERVER_ELSEWHERE = {"labels": KFP | {"app": "ml-pipeline"}, "namespace": ELSEWHERE}
STRANGER_ELSEWHERE = {"labels": WORKFLOW | {"app.kubernetes.io/part-of": "larpo"}, "namespace": ELSEWHERE}
TRAINER = {
    "labels": {"app.kubernetes.io/name": "trainer", "app.kubernetes.io/component": "manager"},
    "namespace": {"kubernetes.io/metadata.name": "kubeflow-system"},
}
INTERNET = {"address": "192.0.2.1"}

pytestmark = pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)


def policies(kustomization: str) -> list[Document]:
    return [document for document in build(kustomization) if document["kind"] == "NetworkPolicy"]


def pod(kustomization: str, name: str) -> Document:
    return here(kustomization, dict(pod_specs(kustomization))[name]["metadata"]["labels"])


def here(kustomization: str, labels: dict[str, Any]) -> Document:
    return {"labels": labels, "namespace": {"kubernetes.io/metadata.name": namespace(kustomization)}}


def pipeline(kustomization: str) -> Document:
    """A task of larpo's pipelines, as they label it."""
    return here(kustomization, WORKFLOW | {"app.kubernetes.io/part-of": "larpo"})


def stranger(kustomization: str) -> Document:
    return here(kustomization, {"app": "stranger"})


def kfp_server(kustomization: str) -> Document:
    return here(kustomization, KFP | {"app": "ml-pipeline"})


def test_every_larpo_pod_is_in_the_default_denial(kustomization: str) -> None:
    rules = policies(kustomization)
    for name, _ in pod_specs(kustomization):
        assert not allowed(rules, stranger(kustomization), pod(kustomization, name), 1234)
        assert not allowed(rules, pod(kustomization, name), INTERNET, 25)
    assert not allowed(rules, pipeline(kustomization), INTERNET, 25)
    assert allowed(rules, STRANGER_ELSEWHERE, kfp_server(kustomization), 8888)  # Kubeflow's own are Kubeflow's to close


def test_what_a_pipeline_needs_it_reaches(kustomization: str) -> None:
    rules = policies(kustomization)
    tracking = urlsplit(one(kustomization, "ConfigMap", "larpo-env")["data"]["MLFLOW_TRACKING_URI"])
    assert tracking.hostname == "mlflow"
    assert tracking.port is not None
    assert allowed(rules, pipeline(kustomization), pod(kustomization, "mlflow"), tracking.port)
    assert allowed(rules, pipeline(kustomization), DNS, 53, "UDP")
    assert allowed(rules, pipeline(kustomization), {"address": "169.254.20.10"}, 53, "UDP")
    assert allowed(rules, pipeline(kustomization), kfp_server(kustomization), 8888)
    assert allowed(rules, pipeline(kustomization), KFP_SERVER_ELSEWHERE, 8080)
    assert allowed(rules, pipeline(kustomization), INTERNET, 443)
    assert allowed(rules, pipeline(kustomization), DNS_OF_OPENSHIFT, 5353, "UDP")
    for port in (443, 6443, 8443, 16443):  # of the Kubernetes API: clouds, kubeadm, minikube, MicroK8s
        assert allowed(rules, pipeline(kustomization), API_SERVER, port)


def test_what_else_is_in_the_namespace_stays_as_it_is(kustomization: str) -> None:
    rules = policies(kustomization)
    notebook, other = stranger(kustomization), here(kustomization, WORKFLOW)
    for anybody in (notebook, other):
        assert allowed(rules, anybody, INTERNET, 25)
        assert allowed(rules, STRANGER_ELSEWHERE, anybody, 8888)
    assert not allowed(rules, other, pod(kustomization, "mlflow"), 5000)


def test_s3_is_reached_by_all_that_use_it(kustomization: str) -> None:
    rules = policies(kustomization)
    store = urlsplit(one(kustomization, "ConfigMap", "larpo-env")["data"]["AWS_ENDPOINT_URL_S3"])
    inside = store.scheme == "http"
    target = kfp_server(kustomization) if inside else INTERNET
    port = store.port or {"https": 443, "http": 80}[store.scheme]
    for source in (pipeline(kustomization), pod(kustomization, "mlflow"), pod(kustomization, "larpo-deepspeed")):
        assert allowed(rules, source, target, port)


def test_training_nodes_reach_one_another_and_nobody_reaches_them(kustomization: str) -> None:
    rules, node = policies(kustomization), pod(kustomization, "larpo-deepspeed")
    for port in (29400, 40123):
        assert allowed(rules, node, node, port)
        assert not allowed(rules, pipeline(kustomization), node, port)
        assert not allowed(rules, STRANGER_ELSEWHERE, node, port)
    assert allowed(rules, node, DNS, 53, "UDP")
    assert not allowed(rules, node, pod(kustomization, "postgres"), 5432)
    assert allowed(rules, node, TRAINER, 10443)  # statusServer.port of the manager's configuration, Trainer 2.3
    assert not allowed(rules, node, TRAINER, 8081)


def test_a_served_champion_is_fetched_and_asked(kustomization: str) -> None:
    rules = policies(kustomization)
    (workload, _) = deployment(Served("my-model", 3, "mlflow-artifacts:/1/models/m-1/artifacts", ""), "larpo-base:1")
    server = here(kustomization, workload["spec"]["template"]["metadata"]["labels"])
    assert allowed(rules, server, pod(kustomization, "mlflow"), 5000)
    assert not allowed(rules, server, pod(kustomization, "postgres"), 5432)
    store = urlsplit(one(kustomization, "ConfigMap", "larpo-env")["data"]["AWS_ENDPOINT_URL_S3"])
    target = kfp_server(kustomization) if store.scheme == "http" else INTERNET
    assert allowed(rules, server, target, store.port or {"https": 443, "http": 80}[store.scheme])
    assert allowed(rules, server, DNS, 53, "UDP")
    for source in (stranger(kustomization), STRANGER_ELSEWHERE):
        assert allowed(rules, source, server, 8000)
        assert not allowed(rules, source, server, 22)


def test_a_pod_of_kserve_is_reached_where_it_listens(kustomization: str) -> None:
    """KServe gives the labels of an InferenceService to its pods (buildObjectMeta of its predictor)."""
    found = inference_service(Served("my-model", 3, "s3://bucket/policy", ""))
    own = {"serving.kserve.io/inferenceservice": found["metadata"]["name"], "component": "predictor"}
    rules, server = policies(kustomization), here(kustomization, found["metadata"]["labels"] | own)
    for port in (8080, 8012, 8112):  # the runtime, and Knative's proxy in front of it
        assert allowed(rules, STRANGER_ELSEWHERE, server, port)
    assert allowed(rules, server, INTERNET, 443)


def test_a_policy_does_not_take_the_place_of_mlflow_or_its_database(kustomization: str) -> None:
    there = {document["metadata"]["name"] for document in build(kustomization) if document["kind"] == "Service"}
    assert {Served(name, 1, "", "").name for name in there}.isdisjoint(there)


def test_mlflow_and_its_database_are_closed_to_others(kustomization: str) -> None:
    rules, mlflow, postgres = (policies(kustomization), pod(kustomization, "mlflow"), pod(kustomization, "postgres"))
    assert allowed(rules, mlflow, postgres, 5432)
    assert not allowed(rules, mlflow, postgres, 22)
    for source in (pipeline(kustomization), stranger(kustomization), STRANGER_ELSEWHERE, kfp_server(kustomization)):
        assert not allowed(rules, source, postgres, 5432)
    for source in (stranger(kustomization), STRANGER_ELSEWHERE, postgres):
        assert not allowed(rules, source, mlflow, 5000)
    assert not allowed(rules, postgres, INTERNET, 443)
