"""What the compiled pipeline asks of the cluster is what the manifests give it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from built import KUSTOMIZATIONS, ROOT, build, one

from larpo_kubeflow.pipelines.compile import compile_pipeline

README = (ROOT / "k8s" / "README.md").read_text("utf-8").replace("\\\n", " ")


@pytest.fixture(scope="module")
def executors(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the pipeline says of its pods to Kubernetes."""
    path = tmp_path_factory.mktemp("pipeline") / "larpo.yaml"
    compile_pipeline("larpo", Path(path))
    _, platforms = yaml.safe_load_all(path.read_text("utf-8"))
    found = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(found) > 10
    return list(found.values())


def test_secrets_are_those_that_the_readme_makes(executors: list[dict[str, Any]]) -> None:
    commands = dict(re.findall(r'kubectl -n "\$NS" create secret generic (\S+)(.*)', README))
    used = [secret for executor in executors for secret in executor["secretAsEnv"]]
    assert {secret["secretName"] for secret in used} == commands.keys() - {"larpo-postgres"}
    for secret in used:
        keys = {pair["secretKey"] for pair in secret["keyToEnv"]}
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
