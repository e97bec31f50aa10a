"""What the compiled pipelines say, read as Kubeflow reads it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.images import Images
from larpo_lib.pipeline.parameters import UNSET
from pipelines.cluster import Limits
from pipelines.compile import compile_pipeline

NAMES = ("larpo", "evaluate", "study")
LIGHT = {"start", "prepare", "gate", "keep", "merge-candidates", "merge-ranked", "build-lists", "promote", "report"}
HEAVY = {"sft", "sample", "rerank", "train", "evaluate"}


class Compiled:
    """The two documents of a compiled pipeline, and its tasks with what belongs to each."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text("utf-8")
        self.spec, platform = yaml.safe_load_all(self.text)
        self.kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def tasks(self) -> list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
        """Name of the component, the task, its container, its settings in Kubernetes."""
        graphs = [self.spec["root"]["dag"], *(c["dag"] for c in self.spec["components"].values() if "dag" in c)]
        found = []
        for task in (task for graph in graphs for task in graph["tasks"].values()):
            component = self.spec["components"][task["componentRef"]["name"]]
            if "executorLabel" in component:
                label = component["executorLabel"]
                name = label.removeprefix("exec-").partition("-of-")[0].rstrip("0123456789").rstrip("-")
                container = self.spec["deploymentSpec"]["executors"][label]["container"]
                found.append((name, task, container, self.kubernetes[label]))
        return found


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compiled]:
    folder = tmp_path_factory.mktemp("compiled")
    found = {}
    for name in NAMES:
        path = folder / f"{name}.yaml"
        compile_pipeline(name, path, max_rounds=2, images=Images("registry.example.com/team", "0a1b2c3"))
        found[name] = Compiled(path)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_same_arguments_give_the_same_bytes_in_another_process(name, compiled, tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipelines.compile import compile_pipeline;"
        "from components.images import Images;"
        "images = Images('registry.example.com/team', '0a1b2c3');"
        f"compile_pipeline({name!r}, Path(sys.argv[1]), max_rounds=2, images=images);"
        "print(sorted(set(sys.modules) & {'torch', 'vllm', 'transformers', 'mlflow', 'deepspeed', 'pyarrow'}))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "again.yaml"], capture_output=True, text=True, check=True
    )
    assert (tmp_path / "again.yaml").read_text("utf-8") == compiled[name].text
    assert made.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_typed_described_and_has_a_default(name, compiled):
    parameters = compiled[name].spec["root"]["inputDefinitions"]["parameters"]
    assert len(parameters) > 15
    for parameter, definition in parameters.items():
        assert definition["parameterType"] in ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "STRUCT", "LIST"), parameter
        assert len(definition["description"]) > 10, parameter
        assert definition["description"].endswith("."), parameter
        assert "defaultValue" in definition, parameter


def test_parameters_that_are_settings_leave_them_alone_by_default(compiled):
    parameters = compiled["larpo"].spec["root"]["inputDefinitions"]["parameters"]
    for name, unset in UNSET.items():
        assert parameters[name]["defaultValue"] == unset, name


def test_every_component_is_an_import_and_a_call():
    folder = Path(inspect.getfile(Images)).parent
    for path in folder.glob("*.py"):
        lines = path.read_text("utf-8").splitlines()
        ends = [number for number, line in enumerate(lines) if line == '    """']
        if ends:
            assert len(lines) - ends[-1] - 1 <= 30, path.name


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_its_image_credentials_cache_retries_and_timeout(name, compiled):
    for component, task, container, kubernetes in compiled[name].tasks():
        image = container["image"]
        assert image.startswith("registry.example.com/team/larpo-"), component
        assert image.endswith(":0a1b2c3"), component
        secrets = {secret["secretName"]: secret for secret in kubernetes["secretAsEnv"]}
        assert set(secrets) == {"larpo-s3", "larpo-mlflow", "larpo-judge"}
        assert [secrets[name].get("optional", False) for name in sorted(secrets)] == [True, True, False]
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
        assert [key["envVar"] for key in optional["keyToEnv"]] == ["AWS_CA_BUNDLE"]
        (cache,) = kubernetes["pvcMount"]
        assert (cache["constant"], cache["mountPath"]) == ("larpo-cache", "/cache")
        if component == "final-report":
            continue
        retries = 1 if component.startswith("start") else 2
        assert task["retryPolicy"] == {
            "maxRetryCount": retries, "backoffDuration": "60s", "backoffFactor": 2.0, "backoffMaxDuration": "600s",
        }  # fmt: skip
        assert int(kubernetes["activeDeadlineSeconds"]) == (72 if component in HEAVY else 6) * 3600, component


def test_models_run_on_machines_that_parameters_choose(compiled):
    seen = set()
    for component, task, container, kubernetes in compiled["larpo"].tasks():
        accelerator = container.get("resources", {}).get("accelerator")
        assert (accelerator is not None) == (component in HEAVY), component
        if accelerator is None:
            continue
        seen.add(component)
        assert accelerator["resourceType"].startswith("{{$.inputs.parameters['pipelinechannel--"), component
        assert accelerator["resourceCount"].endswith("gpus']}}"), component
        (shm,) = kubernetes["emptyDirMounts"]
        assert (shm["mountPath"], shm["medium"]) == ("/dev/shm", "Memory")  # noqa: S108
        assert "nodeSelectorJson" in kubernetes["nodeSelector"]
        assert "tolerationJson" in kubernetes["tolerations"][0]
        assert task["cachingOptions"]["enableCache"]
    assert seen == HEAVY


def test_what_decides_or_judges_is_never_taken_from_kfps_cache(compiled):
    uncached = {name for name, task, *_ in compiled["larpo"].tasks() if not task["cachingOptions"].get("enableCache")}
    assert uncached == {"start", "gate", "promote", "final-report"}


def test_targets_of_the_images(compiled):
    images = {
        name: container["image"].split("larpo-")[1].split(":")[0] for name, _, container, _ in compiled["larpo"].tasks()
    }
    assert images.pop("final-report") == "evaluator"
    assert {name for name, target in images.items() if target == "evaluator"} == LIGHT
    assert {name: images[name] for name in HEAVY} == {
        "sft": "trainer", "train": "trainer", "sample": "sampler", "evaluate": "sampler", "rerank": "base",
    }  # fmt: skip


def test_the_exit_handler_comes_whatever_became_of_the_rest(compiled):
    for name in NAMES:
        task = compiled[name].spec["root"]["dag"]["tasks"]["final-report"]
        assert task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
        assert "taskFinalStatus" in task["inputs"]["parameters"]["status"]


def test_no_round_is_run_without_its_gate(compiled):
    rounds = [
        c["dag"]["tasks"] for name, c in compiled["larpo"].spec["components"].items() if name.startswith("comp-round")
    ]
    assert len(rounds) == 2
    for tasks in rounds:
        assert {name for name, task in tasks.items() if "triggerPolicy" not in task} == {"gate", "condition-branches-1"}


def test_size_grows_by_less_than_80_kb_a_round(tmp_path):
    sizes = []
    for rounds in (1, 3):
        compile_pipeline("larpo", tmp_path / "larpo.yaml", max_rounds=rounds)
        sizes.append((tmp_path / "larpo.yaml").stat().st_size)
    assert (sizes[1] - sizes[0]) / 2 < 80_000


def test_limits_are_set_when_a_pipeline_is_compiled(tmp_path):
    path = tmp_path / "larpo.yaml"
    compile_pipeline("larpo", path, max_rounds=1, limits=Limits(retries=5, backoff="5s", long_hours=1))
    tasks = {name: (task, kubernetes) for name, task, _, kubernetes in Compiled(path).tasks()}
    task, kubernetes = tasks["train"]
    assert task["retryPolicy"]["maxRetryCount"] == 5
    assert task["retryPolicy"]["backoffDuration"] == "5s"
    assert int(kubernetes["activeDeadlineSeconds"]) == 3600


def test_an_image_on_the_machine_has_no_slash():
    assert Images(tag="x").reference("trainer") == "larpo-trainer:x"
    assert Images("host:5000/team/", "x").reference("base") == "host:5000/team/larpo-base:x"
