"""Certificates to trust: every pod that speaks with the store can have them, and none needs them."""

import re
from typing import Any

import pytest
from built import KUSTOMIZATIONS, ROOT, Document, pod_specs, values
from compiled_ir import load

from larpo_lib.kubernetes.manifests import RUNTIME
from larpo_lib.kubernetes.serving import Served, deployment

PAGE = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
(BUNDLE,) = set(re.findall(r"^AWS_CA_BUNDLE=(\S+)$", PAGE, re.MULTILINE))
NAME, KEY = re.findall(r"create configmap (\S+) --from-file=([\w.]+)=", PAGE)[0]
"""As docs/kubernetes.md makes the ConfigMap."""


def mounted(pod: Document, container: Document) -> dict[str, Any]:
    """The volumes of a container, by the folder that each is in."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    return {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}


def variables(container: Document) -> set[str]:
    """Keys of larpo-env that a container has; "*": all of them."""
    found = {ref["key"] for ref in values(container, "configMapKeyRef") if ref["name"] == "larpo-env"}
    return found | {"*" for ref in values(container, "configMapRef") if ref["name"] == "larpo-env"}


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_mlflow_training_nodes_and_served_models_have_the_file(kustomization: str) -> None:
    pods = {name: template["spec"] for name, template in pod_specs(kustomization)}
    (workload, _) = deployment(Served("model", 1, "mlflow-artifacts:/1/models/m-1/artifacts", ""), "larpo-base:1")
    served = workload["spec"]["template"]["spec"]
    folder, _, file = BUNDLE.rpartition("/")
    assert file == KEY
    for pod, containers in ((pods["mlflow"], "containers"), (pods[RUNTIME], "containers"), (served, "initContainers")):
        (container,) = pod[containers]
        assert mounted(pod, container)[folder]["configMap"] == {"name": NAME, "optional": True}
        assert variables(container) & {"AWS_CA_BUNDLE", "*"}
        assert all(ref["optional"] for ref in values(container, "configMapKeyRef") if ref["key"] == "AWS_CA_BUNDLE")


@pytest.mark.parametrize("name", ["larpo", "evaluate", "study"])
def test_the_pods_of_pipelines_have_the_file(name: str) -> None:
    executors = [*load(ROOT / "pipelines" / "compiled" / f"{name}.yaml").platform.values()]
    assert executors
    for executor in executors:
        (volume,) = executor["configMapAsVolume"]
        assert (volume["configMapName"], volume["optional"]) == (NAME, True)
        assert f"{volume['mountPath']}/{KEY}" == BUNDLE
