"""What the compiled pipeline asks of the cluster is what the manifests give it."""

import re
from typing import Any

import pytest
from built import KUSTOMIZATIONS, ROOT, build, one
from compiled_ir import load

README = (ROOT / "k8s" / "README.md").read_text("utf-8").replace("\\\n", " ")


@pytest.fixture(scope="module")
def executors() -> list[dict[str, Any]]:
    """What the pipeline says of its pods to Kubernetes."""
    found = [*load(ROOT / "pipelines" / "compiled" / "larpo.yaml").platform.values()]
    assert len(found) > 10
    return found


def test_secrets_are_those_that_the_readme_makes(executors: list[dict[str, Any]]) -> None:
    commands = dict(re.findall(r'kubectl -n "\$NS" create secret generic (\S+)(.*)', README))
    used = [secret for executor in executors for secret in executor["secretAsEnv"]]
    assert {secret["secretName"] for secret in used} == commands.keys() - {"larpo-postgres", "larpo-mlflow-server"}
    for secret in used:
        keys = {pair["secretKey"] for pair in secret["keyToEnv"]}
        if secret["secretName"] == "larpo-mlflow":  # in place of user and password
            assert "--from-literal=MLFLOW_TRACKING_TOKEN=" in README
            keys.remove("MLFLOW_TRACKING_TOKEN")
        assert keys == set(re.findall(r"--from-literal=(\w+)=", commands[secret["secretName"]]))
        assert secret["optional"] is True  # larpo-s3 too: with workload identity there is none


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_settings_and_volumes_are_those_of_the_manifests(executors: list[dict[str, Any]], kustomization: str) -> None:
    there = {(document["kind"], document["metadata"]["name"]) for document in build(kustomization)}
    for executor in executors:
        for source in executor["configMapAsEnv"]:
            data = one(kustomization, "ConfigMap", source["configMapName"])["data"]
            assert source["optional"] or {pair["configMapKey"] for pair in source["keyToEnv"]} <= data.keys()
        for volume in executor.get("pvcMount", []):
            assert ("PersistentVolumeClaim", volume["constant"]) in there
            assert volume["mountPath"] == "/cache"
