"""The manifests are valid, refer to what there is, and agree with the code."""

import configparser
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import mlflow.environment_variables
import pytest
import yaml
from built import KUSTOMIZATIONS, ROOT, Document, build, build_one, namespace, one, pod_specs, values
from kubeflow_trainer_api import models
from mlflow.cli import cli

import larpo_lib
from larpo_lib.kubernetes.manifests import RUNTIME
from larpo_lib.kubernetes.serving import ACCOUNT, Served, deployment

pytestmark = pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
FROM_KUBEFLOW = (Path(__file__).parent / "kubeflow_services.yaml").read_text("utf-8")
README = (ROOT / "k8s" / "README.md").read_text("utf-8")
TO_CREATE = set(re.findall(r'kubectl -n "\$NS" create secret generic (\S+)', README))
"""Secrets that whoever applies the manifests makes first."""


def store(kustomization: str) -> Document | None:
    """Where Kubeflow keeps artifacts, as an overlay says; None: it leaves that to Kubeflow."""
    if ("ConfigMap", "kfp-launcher") not in {(each["kind"], each["metadata"]["name"]) for each in build(kustomization)}:
        return None
    provider: Document = yaml.safe_load(one(kustomization, "ConfigMap", "kfp-launcher")["data"]["providers"])["s3"]
    return provider["default"]


def test_the_list_is_whole(kustomization: str) -> None:
    assert [f"k8s/overlays/{name}" for name in ("eks", "gpu", "local", "profile")] == KUSTOMIZATIONS
    for name in ("base", "training"):  # what they are made of; alone they are in no namespace
        assert not any("namespace" in document["metadata"] for document in build_one(f"k8s/{name}"))


def test_kubernetes_knows_every_field(kustomization: str) -> None:
    for document in build(kustomization):
        if not document["apiVersion"].startswith("trainer."):
            kubernetes_validate.validate(document, "1.33", strict=True)


def test_kubeflow_trainer_knows_every_field(kustomization: str) -> None:
    runtime = one(kustomization, "TrainingRuntime", RUNTIME)
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime  # what it knows not it drops
    runtime["spec"]["mlPolicy"]["numNode"] = runtime["spec"]["mlPolicy"].pop("numNodes")
    try:
        assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() != runtime
    finally:
        runtime["spec"]["mlPolicy"]["numNodes"] = runtime["spec"]["mlPolicy"].pop("numNode")


def test_the_pods_of_a_node_are_valid_pods(kustomization: str) -> None:
    for name, template in pod_specs(kustomization):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, "1.33", strict=True)


def test_everything_is_in_the_namespace(kustomization: str) -> None:
    for document in build(kustomization):
        assert document["kind"] != "Namespace"  # Kubeflow's own, or the profile's, whose labels it needs
        assert document["metadata"]["namespace"] == namespace(kustomization), document["metadata"]["name"]
        for subject in document.get("subjects", []):
            assert subject["namespace"] == namespace(kustomization)


def test_names_that_are_referred_to_exist(kustomization: str) -> None:
    documents = build(kustomization)
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    there |= {("Secret", name) for name in TO_CREATE}
    wanted = set()
    for document in documents:
        for key, kind in (("secretKeyRef", "Secret"), ("secretRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            wanted |= {(kind, value["name"]) for value in values(document, key)}
        wanted |= {("ConfigMap", value["name"]) for value in values(document, "configMapRef")}
        wanted |= {("PersistentVolumeClaim", value) for value in values(document, "claimName")}
        wanted |= {("ServiceAccount", value) for value in values(document, "serviceAccountName")}
        if document["kind"] == "RoleBinding":
            wanted |= {("ServiceAccount", subject["name"]) for subject in document["subjects"]}
            wanted.add(("Role", document["roleRef"]["name"]))
        if document["kind"] == "StatefulSet":
            wanted.add(("Service", document["spec"]["serviceName"]))
    provider = store(kustomization)
    if provider is not None and not provider["credentials"]["fromEnv"]:
        wanted.add(("Secret", provider["credentials"]["secretRef"]["secretName"]))
    assert wanted <= there, wanted - there
    with_keys = {"larpo-s3"} if kustomization != "k8s/overlays/eks" else set()
    assert {name for kind, name in wanted if kind == "Secret"} == {"larpo-postgres", "larpo-hub"} | with_keys


def test_no_secret_is_in_the_manifests(kustomization: str) -> None:
    assert "Secret" not in {document["kind"] for document in build(kustomization)}
    for name, template in pod_specs(kustomization):
        for container in template["spec"]["containers"]:
            for variable in container.get("env", []):
                secret = re.search("PASSWORD|SECRET|TOKEN|KEY", variable["name"])
                assert not secret or "valueFrom" in variable, f"{name}: {variable['name']}"


def test_the_names_that_components_use(kustomization: str) -> None:
    there = {(document["kind"], document["metadata"]["name"]) for document in build(kustomization)}
    assert {
        ("ServiceAccount", "larpo-pipeline"),
        ("ServiceAccount", "larpo-train"),
        ("ServiceAccount", ACCOUNT),
        ("ConfigMap", "larpo-env"),
        ("PersistentVolumeClaim", "larpo-cache"),
    } <= there
    assert {"s3", "postgres", "mlflow", "mlflow-server", "judge", "hub"} == {name[6:] for name in TO_CREATE}
    environment = one(kustomization, "ConfigMap", "larpo-env")["data"]
    assert environment.keys() == {"AWS_ENDPOINT_URL_S3", "AWS_REGION", "MLFLOW_TRACKING_URI"}
    (runtime,) = [template["spec"] for name, template in pod_specs(kustomization) if name == RUNTIME]
    assert runtime["serviceAccountName"] == "larpo-train"
    assert {"name": "cache", "mountPath": "/cache"} in runtime["containers"][0]["volumeMounts"]
    assert {"name": "LARPO_CACHE", "value": "/cache"} in runtime["containers"][0]["env"]
    assert {"name": "HF_HOME", "value": "/cache/huggingface"} in runtime["containers"][0]["env"]
    of_hub = {"secretRef": {"name": "larpo-hub", "optional": True}}
    assert of_hub in runtime["containers"][0]["envFrom"]


def test_pipelines_and_steps_use_one_store(kustomization: str) -> None:
    provider = store(kustomization)
    if provider is None:
        assert kustomization == "k8s/overlays/profile"  # whose kfp-launcher is Kubeflow's
        return
    environment = one(kustomization, "ConfigMap", "larpo-env")["data"]
    assert provider["endpoint"] == environment["AWS_ENDPOINT_URL_S3"]
    assert provider["region"] == environment["AWS_REGION"]
    assert provider["disableSSL"] == environment["AWS_ENDPOINT_URL_S3"].startswith("http://")
    assert provider["forcePathStyle"] is True


def test_pods_run_with_few_rights(kustomization: str) -> None:
    for name, template in pod_specs(kustomization):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is (name != RUNTIME)
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


def test_services_are_watched_and_selected(kustomization: str) -> None:
    templates = dict(pod_specs(kustomization))
    for name in ("mlflow", "postgres"):
        (container,) = templates[name]["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        labels = templates[name]["metadata"]["labels"]
        service = one(kustomization, "Service", name)["spec"]
        assert service["selector"].items() <= labels.items()
        assert service["ports"][0]["targetPort"] in [port["name"] for port in container["ports"]]
        budget = one(kustomization, "PodDisruptionBudget", name)["spec"]
        assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_a_variable_stands_before_those_that_use_it(kustomization: str) -> None:
    """Kubernetes leaves $(NAME) as it is where NAME comes later."""
    for _, template in pod_specs(kustomization):
        for container in template["spec"]["containers"]:
            known: set[str] = set()
            for variable in container.get("env", []):
                assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= known
                known.add(variable["name"])
            assert set(re.findall(r"\$\((\w+)\)", " ".join(container.get("args", [])))) <= known


def test_mlflow_knows_the_options_and_the_name_it_is_called_by(kustomization: str) -> None:
    (container,) = dict(pod_specs(kustomization))["mlflow"]["spec"]["containers"]
    assert container["command"] == ["mlflow", "server"]
    context = cli.commands["server"].make_context("server", list(container["args"]))
    assert (context.params["host"], context.params["port"]) == ("0.0.0.0", 5000)  # noqa: S104
    uri = one(kustomization, "ConfigMap", "larpo-env")["data"]["MLFLOW_TRACKING_URI"]
    assert uri.removeprefix("http://") in context.params["allowed_hosts"].split(",")
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    stores = [parameter.envvar for parameter in context.command.params if parameter.name == "backend_store_uri"]
    assert stores == ["MLFLOW_BACKEND_STORE_URI"]


def test_images_are_of_this_version(kustomization: str) -> None:
    images = [image for image in _images(build(kustomization)) if "larpo-" in image]
    assert {image.rpartition("/")[2] for image in images} == {
        f"larpo-{target}:{larpo_lib.__version__}" for target in ("mlflow", "trainer")
    }
    assert all(":" in image and not image.endswith(":latest") for image in _images(build(kustomization)))


def _images(documents: Any) -> list[str]:
    return [image for document in documents for image in values(document, "image")]


def test_a_node_that_fails_ends_the_others_and_all_start_anew(kustomization: str) -> None:
    runtime: Document = one(kustomization, "TrainingRuntime", RUNTIME)["spec"]["template"]["spec"]
    (job,) = runtime["replicatedJobs"]
    assert runtime["failurePolicy"]["maxRestarts"] > 0
    assert job["template"]["spec"]["backoffLimit"] == 0
    assert job["template"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_store_is_a_service_that_kubeflow_brings(kustomization: str) -> None:
    """As the manifests of Kubeflow Pipelines 2.17.0 have it, in its own namespace."""
    endpoint = urlsplit(one(kustomization, "ConfigMap", "larpo-env")["data"]["AWS_ENDPOINT_URL_S3"])
    if endpoint.scheme == "https":
        return
    service = yaml.safe_load(FROM_KUBEFLOW)
    name, _, elsewhere = str(endpoint.hostname).partition(".")
    assert name == service["metadata"]["name"]
    assert (elsewhere or namespace(kustomization)) == service["metadata"]["namespace"]
    assert endpoint.port in [port["port"] for port in service["spec"]["ports"]]


def test_accounts_on_eks_have_a_role_and_others_need_a_key(kustomization: str) -> None:
    for document in build(kustomization):
        if document["kind"] == "ServiceAccount":
            role = document["metadata"].get("annotations", {}).get("eks.amazonaws.com/role-arn")
            assert (role is not None) is (kustomization == "k8s/overlays/eks")


def test_no_proxy_is_put_into_the_pods(kustomization: str) -> None:
    (workload, _) = deployment(Served("model", 1, "mlflow-artifacts:/1/models/m-1/artifacts", ""), "larpo-base:1")
    for name, template in (*pod_specs(kustomization), ("served", workload["spec"]["template"])):
        assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false", name


def test_no_quota_of_ours_is_in_the_way_of_a_profiles_gpus(kustomization: str) -> None:
    """A quota of zero refuses every pod of the namespace with a GPU, also those of notebooks."""
    hard = one(kustomization, "ResourceQuota", "larpo")["spec"]["hard"]
    gpus = {"eks": "32", "gpu": "32", "local": "0", "profile": None}[kustomization.rpartition("/")[2]]
    assert hard.get("requests.nvidia.com/gpu") == gpus


def test_mlflows_artifacts_do_not_expire_and_a_profile_may_write_them(kustomization: str) -> None:
    """In the bucket of a profile: sync.py of Kubeflow's profile controller, 2.17.0, has its policy and its rule."""
    (container,) = dict(pod_specs(kustomization))["mlflow"]["spec"]["containers"]
    (place,) = [variable["value"] for variable in container["env"] if variable["name"] == "MLFLOW_ARTIFACTS"]
    runs = re.findall(r"--parameter root=(\S+)", (ROOT / "docs" / "kubernetes.md").read_text("utf-8"))
    assert len(runs) == 3
    expires, own = "private-artifacts", f"private/{namespace(kustomization)}/"
    assert expires not in place
    if kustomization == "k8s/overlays/profile":
        assert place.startswith(f"s3://mlpipeline/{own}")
        assert f"s3://mlpipeline/{own}runs" in runs


def test_a_node_that_the_cluster_took_away_uses_up_no_restart(kustomization: str) -> None:
    runtime: Document = one(kustomization, "TrainingRuntime", RUNTIME)["spec"]["template"]["spec"]
    (rule,) = runtime["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    (ignored,) = runtime["failurePolicy"]["rules"]
    assert ignored["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert ignored["onJobFailureReasons"] == ["PodFailurePolicy"]


def test_what_can_never_be_changed_is_alike_in_all_overlays(kustomization: str) -> None:
    """So that another overlay, or a changed one, can be applied over what there is."""

    def fixed(overlay: str) -> dict[str, Any]:
        free = {"replicas", "template", "updateStrategy", "minReadySeconds", "revisionHistoryLimit", "strategy"}
        return {
            document["metadata"]["name"]: {key: value for key, value in document["spec"].items() if key not in free}
            for document in build(overlay)
            if document["kind"] in ("StatefulSet", "Deployment")
        }

    assert fixed(kustomization) == fixed("k8s/overlays/local")
    for document in build(kustomization):  # a template of claims cannot even be made larger
        assert "volumeClaimTemplates" not in document.get("spec", {})


def with_component(name: str, kustomization: str, own: Path) -> list[Any]:
    """The documents of a kustomization of one's own, in the folder `own`, that adds a component."""
    own.mkdir()
    resources, components = (
        os.path.relpath(ROOT / path, own.resolve()) for path in (kustomization, f"k8s/components/{name}")
    )
    lines = ["kind: Kustomization", f"resources: [{resources}]", f"components: [{components}]"]
    (own / "kustomization.yaml").write_text("\n".join(lines), "utf-8")
    return [*build_one(str(own))]


def test_mlflow_asks_for_the_password_that_pods_have(kustomization: str, tmp_path: Path) -> None:
    """A pod of a pipeline has Secret larpo-mlflow in its environment, by the names that MLflow's client reads."""
    documents = with_component("mlflow-auth", kustomization, tmp_path / "own")
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    for document in documents:
        kubernetes_validate.validate(document, "1.33", strict=True)
    before = {(document["kind"], document["metadata"]["name"]): document for document in build_one(kustomization)}
    assert {name for name in found if found[name] != before.get(name)} == {
        ("Deployment", "mlflow"), ("ConfigMap", "mlflow-auth"),
    }  # fmt: skip
    pod = found["Deployment", "mlflow"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    context = cli.commands["server"].make_context("server", list(container["args"]))
    assert context.params["app_name"] == "basic-auth"
    secrets = {
        variable["name"]: tuple(variable["valueFrom"]["secretKeyRef"].values())
        for variable in container["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    created = {
        name: set(re.findall(r"--from-literal=(\w+)=", rest))
        for name, rest in re.findall(r"create secret generic (\S+)((?: *\\?\n? *--from-literal=\S+)+)", README)
    }
    assert secrets["MLFLOW_AUTH_ADMIN_USERNAME"] == ("MLFLOW_TRACKING_USERNAME", "larpo-mlflow")
    assert secrets["MLFLOW_AUTH_ADMIN_PASSWORD"] == ("MLFLOW_TRACKING_PASSWORD", "larpo-mlflow")
    assert secrets["MLFLOW_FLASK_SERVER_SECRET_KEY"][1] == "larpo-mlflow-server"
    assert all(key in created[name] for key, name in secrets.values())
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    for name in secrets.keys() | environment:
        assert not name.startswith("MLFLOW_AUTH") or hasattr(mlflow.environment_variables, name), name
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "auth"]
    folder, _, file = environment["MLFLOW_AUTH_CONFIG_PATH"].rpartition("/")
    assert mount["mountPath"] == folder
    settings = configparser.ConfigParser()
    settings.read_string(found["ConfigMap", "mlflow-auth"]["data"][file])
    assert settings["mlflow"]["database_uri"] == environment["MLFLOW_BACKEND_STORE_URI"]
    assert settings["mlflow"]["default_permission"] == "NO_PERMISSIONS"
    assert {"name": "auth", "configMap": {"name": "mlflow-auth"}} in pod["volumes"]


def test_all_accounts_pull_with_the_secret_of_the_component(kustomization: str, tmp_path: Path) -> None:
    (there,) = re.findall(r"create secret docker-registry (\S+)", README)
    for folder in ("", "/training"):
        documents = with_component("pull-secret", kustomization + folder, tmp_path / f"own{folder.replace('/', '-')}")
        accounts = [document for document in documents if document["kind"] == "ServiceAccount"]
        assert accounts
        assert all(account["imagePullSecrets"] == [{"name": there}] for account in accounts)
