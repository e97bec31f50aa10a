"""What the compiled pipelines say, read as Kubeflow reads it."""

import re
from collections import Counter
from typing import get_args

import pytest
from compiled_ir import Compiled, given, is_exit, load, tasks
from compiled_pipelines import origin, pods
from ir_rules import everything, size

from larpo_kubeflow.components.images import Images
from larpo_kubeflow.pipelines.compile import compile_pipeline
from larpo_kubeflow.pipelines.limits import Limits
from larpo_lib.pipeline.form import FORMS, PipelineName

NAMES = get_args(PipelineName)
LIGHT = {"start", "prepare", "gate", "merge-candidates", "build-lists", "promote", "report", "final-report"}
HEAVY = {"sft", "sample", "rerank", "train", "evaluate"}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compiled]:
    folder = tmp_path_factory.mktemp("compiled")
    found = {}
    for name in NAMES:
        path = folder / f"{name}.yaml"
        compile_pipeline(name, path, images=Images("registry.example.com/team", "0a1b2c3"))
        found[name] = load(path)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_form(name, compiled):
    assert set(NAMES) == set(FORMS)
    kinds = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", dict: "STRUCT", list: "LIST"}
    parameters = compiled[name].spec["root"]["inputDefinitions"]["parameters"]
    assert {parameter: found["parameterType"] for parameter, found in parameters.items()} == {
        field.name: kinds[field.kind] for field in FORMS[name]
    }
    for field in FORMS[name]:
        assert parameters[field.name]["defaultValue"] == field.default, field.name
        assert " ".join(parameters[field.name]["description"].split()) == field.meaning, field.name


def test_the_first_task_is_given_what_the_form_asks_for(compiled):
    """All but where in the cluster pods go: Kubeflow hands a component only what it takes."""
    for name, first in (("larpo", "start"), ("evaluate", "start_evaluation"), ("study", "start_study")):
        (at,) = [at for function, at, _ in pods(compiled[name]) if function == first.replace("_", "-")]
        assert {*given(at.task)} == {"job", *(field.name for field in FORMS[name])} - {"node_selector", "tolerations"}


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_its_image_credentials_cache_retries_and_timeout(name, compiled):
    for component, at, container in pods(compiled[name]):
        kubernetes = at.settings()
        image = container["image"]
        assert image.startswith("registry.example.com/team/larpo-"), component
        assert image.endswith(":0a1b2c3"), component
        secrets = {secret["secretName"]: secret for secret in kubernetes["secretAsEnv"]}
        assert set(secrets) == {"larpo-s3", "larpo-mlflow", "larpo-judge", "larpo-hub"}
        assert all(secret["optional"] for secret in secrets.values())  # none with workload identity
        assert [key["secretKey"] for key in secrets["larpo-s3"]["keyToEnv"]] == [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ]
        needed, optional = kubernetes["configMapAsEnv"]
        assert needed["configMapName"] == optional["configMapName"] == "larpo-env"
        assert {key["envVar"] for key in needed["keyToEnv"]} == {
            "AWS_ENDPOINT_URL_S3",
            "AWS_REGION",
            "MLFLOW_TRACKING_URI",
        }
        assert (needed.get("optional", False), optional["optional"]) == (False, True)
        assert [key["envVar"] for key in optional["keyToEnv"]] == [
            "AWS_CA_BUNDLE",
            "REQUESTS_CA_BUNDLE",
            "HF_ENDPOINT",
            "HF_HUB_OFFLINE",
            "LARPO_S3_PATIENCE",
            "LARPO_QUEUE",
            "LARPO_PRIORITY_CLASS",
        ]
        assert kubernetes["podMetadata"]["labels"] == {"app.kubernetes.io/part-of": "larpo"}
        (cache,) = kubernetes["pvcMount"]
        assert (cache["constant"], cache["mountPath"]) == ("larpo-cache", "/cache")
        (ca,) = kubernetes["configMapAsVolume"]
        assert (ca["configMapName"], ca["mountPath"], ca["optional"]) == ("larpo-ca", "/etc/larpo-ca", True)
        if component == "final-report":
            continue
        retries = 1 if component.startswith("start") else 2
        assert at.task["retryPolicy"] == {
            "maxRetryCount": retries, "backoffDuration": "60s", "backoffFactor": 2.0, "backoffMaxDuration": "2592000s",
        }  # fmt: skip
        deadline = (72 if component in HEAVY else 6) * 3600
        assert int(kubernetes["activeDeadlineSeconds"]) == deadline, component
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert (environment["LARPO_IMAGE"], environment["LARPO_DEADLINE_S"]) == (image, str(deadline))


@pytest.mark.parametrize("name", NAMES)
def test_no_variable_is_given_twice(name, compiled):
    """Argo lays the driver's patch over the pod by the variables' names: two entries of a name become one with `value`
    and `valueFrom`, which Kubernetes refuses. The driver also sets its API server's proxy (config/proxy, KFP 2.17)."""
    of_kubeflow = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"]
    for component, at, container in pods(compiled[name]):
        kubernetes = at.settings()
        sources = [*kubernetes["secretAsEnv"], *kubernetes["configMapAsEnv"]]
        given_names = [pair["envVar"] for source in sources for pair in source["keyToEnv"]]
        given_names += [variable["name"] for variable in container.get("env", [])]
        given_names += [variable["name"] for variable in kubernetes.get("fieldPathAsEnv", [])]
        assert [name for name, times in Counter(given_names + of_kubeflow).items() if times > 1] == [], component


@pytest.mark.parametrize("name", NAMES)
def test_models_run_on_machines_that_parameters_choose(name, compiled):
    for function, at, container in pods(compiled[name]):
        resources, told = container.get("resources", {}), given(at.task)
        assert ("accelerator" in resources) == (function in HEAVY), at.name
        if function not in HEAVY:
            continue
        asked_for = resources["accelerator"]["resourceCount"], resources["resourceMemoryLimit"]
        assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
        assert resources["resourceCpuRequest"] == "2"
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"]
        for text, argument in zip(asked_for, ("gpus", "memory"), strict=True):
            (channel,) = re.findall(r"'(.+)'", text)
            assert told[channel] == told[argument], at.name  # the same value, and handed into groups
        (shm,) = at.settings()["emptyDirMounts"]
        assert (shm["mountPath"], shm["medium"]) == ("/dev/shm", "Memory")  # noqa: S108
        assert at.settings()["nodeSelector"]["nodeSelectorJson"] == told["node_selector"], at.name
        assert at.settings()["tolerations"][0]["tolerationJson"] == told["tolerations"], at.name


def test_each_kind_of_task_has_its_own_machine(compiled):
    """From the component's arguments outwards to the form."""
    found = {}
    for function, at, _ in pods(compiled["larpo"]):
        if function in HEAVY:
            found.setdefault(function, set()).add(origin(at, "memory"))
    assert found == {
        "sft": {"train_memory"}, "train": {"start.train_memory"}, "sample": {"sample_memory"},
        "rerank": {"rerank_memory"}, "evaluate": {"evaluate_memory"},
    }  # fmt: skip


def test_targets_of_the_images(compiled):
    images = {
        name: container["image"].split("larpo-")[1].split(":")[0] for name, _, container in pods(compiled["larpo"])
    }
    assert {name for name, target in images.items() if target == "evaluator"} == LIGHT
    assert {name: images[name] for name in HEAVY} == {
        "sft": "trainer", "train": "trainer", "sample": "sampler", "evaluate": "sampler", "rerank": "base",
    }  # fmt: skip


def test_the_last_task_comes_whatever_became_of_the_rest_and_knows_its_workflow(compiled):
    for pipeline in compiled.values():
        ((function, at),) = [(function, at) for function, at, _ in pods(pipeline) if is_exit(at.task)]
        assert function == "final-report"
        assert {*given(at.task)} == {"job", "root", "run_id"}
        fields = {field["name"]: field["fieldPath"] for field in at.settings()["fieldPathAsEnv"]}
        assert fields["LARPO_WORKFLOW"] == "metadata.labels['workflows.argoproj.io/workflow']"


def test_no_round_is_run_without_its_gate(compiled):
    (around,) = [at.around for function, at, _ in pods(compiled["larpo"]) if function == "gate"]
    assert {name for name, task in tasks(around).items() if "triggerPolicy" not in task} == {"gate"}


def test_a_package_is_small_enough_for_the_cluster(compiled):
    """The specification is kept beside the state of every task; rounds and shares add nothing to it."""
    for pipeline in compiled.values():
        assert size(pipeline) < 110_000
        assert not [at.name for at in everything(pipeline) if re.search(r"-\d+-of-\d", at.name)]


def test_limits_are_set_and_pods_with_a_model_wait_in_a_queue(tmp_path):
    """Labels of Kueue stand on plain pods, as those of Argo's workflows are, and on no others."""
    path = tmp_path / "larpo.yaml"
    chosen = {"cpus": "8", "gpu_type": "amd.com/gpu", "queue": "gpus", "priority_class": "high"}
    compile_pipeline("larpo", path, limits=Limits(retries=5, backoff="5s", long_hours=1, **chosen))
    labels = {"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "high"}
    found = {name: (at, container) for name, at, container in pods(load(path))}
    assert found.keys() > HEAVY
    for name, (at, _) in found.items():
        own = at.settings()["podMetadata"]["labels"]
        assert {key: value for key, value in own.items() if "kueue" in key} == (labels if name in HEAVY else {})
    at, container = found["train"]
    assert (at.task["retryPolicy"]["maxRetryCount"], at.task["retryPolicy"]["backoffDuration"]) == (5, "5s")
    assert int(at.settings()["activeDeadlineSeconds"]) == 3600
    resources = container["resources"]
    assert (resources["accelerator"]["resourceType"], resources["resourceCpuRequest"]) == ("amd.com/gpu", "8")
    _, first = found["start"]  # which says what each node of a TrainJob asks for
    assert {"name": "LARPO_GPU_TYPE", "value": "amd.com/gpu"} in first["env"]


def test_without_a_queue_no_pod_has_a_label_of_one(compiled):
    for pipeline in compiled.values():
        for _, at, _ in pods(pipeline):
            assert [*at.settings()["podMetadata"]["labels"]] == ["app.kubernetes.io/part-of"]


def test_an_image_on_the_machine_has_no_slash():
    assert Images(tag="x").reference("trainer") == "larpo-trainer:x"
    assert Images("host:5000/team/", "x").reference("base") == "host:5000/team/larpo-base:x"
