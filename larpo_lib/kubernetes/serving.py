"""Manifests that serve a registered policy: vLLM as a Deployment, or KServe. Plain data, nothing else.

Names of the configuration and the secrets are those of `k8s/`.
"""

import re
from dataclasses import dataclass
from typing import Any

from larpo_lib.errors import ConfigError
from larpo_lib.kubernetes.manifests import CA, CA_FOLDER, MANAGED_BY, MANAGER

VLLM = "vllm/vllm-openai:v0.32.0"
"""The image of the version that larpo is tested with."""

_MODELS, _TMP, _SHM = "/models", "/tmp", "/dev/shm"  # noqa: S108 - paths in the container
_PORT = 8000
_LONGEST = 50
ACCOUNT = "larpo-serving"
"""The service account of a served policy's pod, of `k8s/base`."""

_OTHERS = ("mlflow", "postgres")
"""Names in `k8s/base`: a policy that took one would take its place."""
_SERVING = {"app.kubernetes.io/part-of": "larpo", "app.kubernetes.io/component": "serving"}
"""What the network policies select."""
_NO_PROXY = {"sidecar.istio.io/inject": "false"}


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        model: name of the registered model, by which it is asked for.
        version: of it.
        location: of the policy's files, as MLflow names it.
        digest: of the policy; "" if it is not known.
        gpus: of the pod.
        gpu_type: the cluster's name for them.
        memory: of the pod.
    """

    model: str
    version: int
    location: str
    digest: str
    gpus: int = 1
    gpu_type: str = "nvidia.com/gpu"
    memory: str = "64Gi"

    @property
    def name(self) -> str:
        """Of the objects in the cluster: the model's, as far as Kubernetes takes it."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.model.lower()).strip("-")[:_LONGEST].strip("-")
        fit = re.match(r"[a-z]", plain) and plain not in _OTHERS
        return plain if fit else f"policy-{plain}".rstrip("-")

    @property
    def metadata(self) -> dict[str, Any]:
        """Name, labels, and which version of which model it is."""
        told = {"larpo.dev/model": self.model, "larpo.dev/version": str(self.version)}
        if self.digest:
            told["larpo.dev/policy-digest"] = self.digest
        return {
            "name": self.name,
            "labels": {"app.kubernetes.io/name": self.name, MANAGED_BY: MANAGER},
            "annotations": told,
        }

    @property
    def wanted(self) -> dict[str, str]:
        """What the server asks of a machine."""
        return {"cpu": "4", "memory": self.memory, self.gpu_type: str(self.gpus)}


def deployment(
    served: Served, larpo_image: str, vllm_image: str = VLLM, service_account: str = ACCOUNT
) -> list[dict[str, Any]]:
    """A Deployment of vLLM with OpenAI's API, and a Service for it.

    Before the server starts, `larpo champion fetch` downloads this version and checks its digest. A restarted pod gets
    the same version, also if another one is champion by then.

    Args:
        served: what is served.
        larpo_image: with larpo.
        vllm_image: with vLLM.
        service_account: of the pod: with the role for the store and the secret for the images, where there are any.
    """
    selector = {"app.kubernetes.io/name": served.name}
    pod = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [_fetching(served, larpo_image)],
        "containers": [_server(served, vllm_image)],
        "volumes": [
            {"name": "models", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
            {"name": CA, "configMap": {"name": CA, "optional": True}},
        ],
    }
    metadata = served.metadata
    metadata["labels"] |= _SERVING
    labels = {**metadata["labels"], **_NO_PROXY}
    template = {"metadata": {"labels": labels, "annotations": metadata["annotations"]}, "spec": pod}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": 1, "selector": {"matchLabels": selector}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": served.name, "labels": metadata["labels"]},
            "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        },
    ]


def inference_service(served: Served, service_account: str = "") -> dict[str, Any]:
    """A KServe InferenceService with the Hugging Face runtime, which serves language models with vLLM.

    KServe gives its labels to the pods, so it has none that larpo's network policies select: they do not know the ports
    of KServe and Knative. CPUs have a limit, for which KServe otherwise takes 1, less than is requested.

    Args:
        served: what is served; its files are in an object store, which KServe reads itself.
        service_account: with the credentials of the store; "": KServe's default.

    Raises:
        ConfigError: KServe cannot read the files.
    """
    if not served.location.startswith("s3://"):
        raise ConfigError(
            f"{served.model} version {served.version} is in MLflow's own store ({served.location}), which KServe cannot"
            " read",
            remedy="Leave out --kserve, or promote a policy that is on s3://",
        )
    model = {
        "modelFormat": {"name": "huggingface"},
        "storageUri": served.location,
        "args": [f"--model_name={served.model}", *_parallel(served)],
        "resources": {"requests": served.wanted, "limits": served.wanted},
    }
    account = {"serviceAccountName": service_account} if service_account else {}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": served.metadata,
        "spec": {"predictor": {**account, "minReplicas": 1, "model": model}},
    }


def _fetching(served: Served, image: str) -> dict[str, Any]:
    command = ["larpo", "champion", "fetch", served.model, "--version", str(served.version)]
    return {
        "name": "fetch",
        "image": image,
        "command": [*command, "--out", f"{_MODELS}/policy"],
        "envFrom": [
            {"configMapRef": {"name": "larpo-env"}},
            {"secretRef": {"name": "larpo-s3", "optional": True}},
            {"secretRef": {"name": "larpo-mlflow", "optional": True}},
        ],
        "env": [{"name": "HOME", "value": _TMP}],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": _MODELS},
            {"name": "tmp", "mountPath": _TMP},
            {"name": CA, "mountPath": CA_FOLDER},
        ],
    }


def _server(served: Served, image: str) -> dict[str, Any]:
    health = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 10}
    options = [f"--model={_MODELS}/policy", f"--served-model-name={served.model}", f"--port={_PORT}"]
    return {
        "name": "vllm",
        "image": image,
        "args": [*options, *_parallel(served)],
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
        "ports": [{"name": "http", "containerPort": _PORT}],
        "startupProbe": {**health, "failureThreshold": 180},
        "readinessProbe": health,
        "livenessProbe": {**health, "failureThreshold": 6},
        "resources": {
            "requests": served.wanted,
            "limits": {name: value for name, value in served.wanted.items() if name != "cpu"},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "models", "mountPath": _MODELS, "readOnly": True},
            {"name": "shm", "mountPath": _SHM},
        ],
    }


def _parallel(served: Served) -> list[str]:
    return [f"--tensor-parallel-size={served.gpus}"] if served.gpus > 1 else []
