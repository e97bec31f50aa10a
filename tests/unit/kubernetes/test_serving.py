"""Manifests that serve a registered policy, against Kubernetes' own schemas and the pins of this project."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from larpo_lib.errors import ConfigError
from larpo_lib.kubernetes.serving import VLLM, Served, deployment, inference_service

ROOT = Path(__file__).parents[3]
PROXIED = "mlflow-artifacts:/1/models/m-1/artifacts"


def served(**changes: Any) -> Served:
    return Served(**{"model": "larpo-gsm8k", "version": 3, "location": PROXIED, "digest": "ab" * 32, **changes})


@pytest.mark.parametrize("gpus", [1, 4])
def test_kubernetes_knows_every_field(gpus: int) -> None:
    documents = deployment(served(gpus=gpus), "registry.example.com/team/larpo-base:1.0")
    assert [document["kind"] for document in documents] == ["Deployment", "Service"]
    for document in documents:
        kubernetes_validate.validate(document, "1.33", strict=True)


def test_a_pod_fetches_one_version_and_serves_it_by_its_name() -> None:
    workload, service = deployment(served(gpus=2), "larpo-base:1.0")
    pod = workload["spec"]["template"]
    (fetch,), (server,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    out = fetch["command"][-1]
    assert fetch["command"] == ["larpo", "champion", "fetch", "larpo-gsm8k", "--version", "3", "--out", out]
    assert server["args"][:2] == [f"--model={out}", "--served-model-name=larpo-gsm8k"]
    assert "--tensor-parallel-size=2" in server["args"]
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert pod["metadata"]["annotations"]["larpo.dev/policy-digest"] == "ab" * 32
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["targetPort"] in [port["name"] for port in server["ports"]]
    assert {mount["name"] for mount in fetch["volumeMounts"] + server["volumeMounts"]} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }


def test_kserve_reads_a_policy_that_is_in_an_object_store() -> None:
    """With the fields of KServe's v1beta1, as its documentation of the Hugging Face runtime has them."""
    found = inference_service(served(location="s3://bucket/run/policy"), "s3-reader")
    assert (found["apiVersion"], found["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = found["spec"]["predictor"]
    assert predictor["serviceAccountName"] == "s3-reader"
    assert predictor["model"]["modelFormat"] == {"name": "huggingface"}
    assert predictor["model"]["storageUri"] == "s3://bucket/run/policy"
    assert predictor["model"]["args"] == ["--model_name=larpo-gsm8k"]
    container = {"name": "kserve-container", "args": predictor["model"]["args"],
                 "resources": predictor["model"]["resources"]}  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": found["metadata"], "spec": {"containers": [container]}}
    kubernetes_validate.validate(pod, "1.33", strict=True)
    with pytest.raises(ConfigError, match="MLflow's own store"):
        inference_service(served())


def test_kserve_can_make_a_pod_of_it() -> None:
    """With the limits that its webhook sets where there are none, over those of its Hugging Face runtime.

    `resource` of KServe's ConfigMap inferenceservice-config, and config/runtimes/kserve-huggingfaceserver.yaml, as
    KServe 0.15 has them. The API server refuses a pod that requests more than its limit, or a GPU with another one.
    """
    asked = inference_service(served(location="s3://bucket/policy", gpus=2))["spec"]["predictor"]["model"]["resources"]
    defaults = {"cpu": "1", "memory": "2Gi"}
    requests, limits = ({**defaults, **asked[which]} for which in ("requests", "limits"))
    assert int(requests["cpu"]) <= int(limits["cpu"])
    assert requests["memory"] == limits["memory"] == "64Gi"
    assert requests["nvidia.com/gpu"] == limits["nvidia.com/gpu"] == "2"


def test_a_pod_has_the_account_that_is_named() -> None:
    for given, account in (({}, "larpo-serving"), ({"service_account": "other"}, "other")):
        workload, _ = deployment(served(), "larpo-base:1.0", **given)
        pod = workload["spec"]["template"]["spec"]
        assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (account, False)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("larpo-gsm8k", "larpo-gsm8k"), ("Team/GSM8K v2", "team-gsm8k-v2"), ("7b", "policy-7b"), ("x" * 80, "x" * 50),
        ("MLflow", "policy-mlflow"), ("mlflow-2", "mlflow-2"),
    ],
)  # fmt: skip
def test_names_are_fit_for_kubernetes(model: str, name: str) -> None:
    assert served(model=model).name == name
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)


def test_the_image_has_the_vllm_that_is_pinned() -> None:
    pins = (ROOT / "requirements" / "vllm-cuda.txt").read_text("utf-8")
    (version,) = re.findall(r"^vllm==(\S+)$", pins, re.MULTILINE)
    assert f"vllm/vllm-openai:v{version}" == VLLM
