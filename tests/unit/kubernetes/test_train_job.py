"""The TrainJob says what the settings say, and Kubeflow Trainer's own models know every field of it."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import typer
from kubeflow_trainer_api import models

from larpo_lib.cli.app import app
from larpo_lib.config import LaunchConfig, LoraConfig, ModelConfig, TrainConfig, load_section
from larpo_lib.errors import ConfigError
from larpo_lib.kubernetes import job_name
from larpo_lib.kubernetes.manifests import Uris, run_label, train_job
from larpo_lib.kubernetes.status import node, state
from larpo_lib.objectives.function import FunctionObjectiveConfig
from larpo_lib.objectives.listwise import listmle
from larpo_lib.objectives.pairwise import dpo
from larpo_lib.objectives.pointwise import kto

URIS = Uris("s3://b/policy", "s3://b/lists", "s3://b/i-1/policy")
LAUNCH = LaunchConfig(launcher="deepspeed", nproc=8, nodes=4, zero_stage=3, offload=True)


def build(config: TrainConfig | None = None, uris: Uris = URIS, **options: Any) -> dict[str, Any]:
    config = config or TrainConfig(launch=LAUNCH)
    return train_job(config, uris, **{"name": "larpo-x", "run": "r", "image": "larpo-trainer:1", **options})


CODE = "def f(batch):\n\t'\"ä\" \U0001f600 \\ = x'\n"


def parsed(job: dict[str, Any]) -> tuple[dict[str, Any], TrainConfig]:
    """What `larpo train` makes of a node's command: its options, and the settings."""
    importlib.import_module("larpo_lib.cli.steps")
    larpo, command, *arguments = [*job["spec"]["trainer"]["command"], *job["spec"]["trainer"]["args"]]
    assert (larpo, command) == ("larpo", "train")
    train: Any = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    options = train.make_context(command, arguments).params
    return options, load_section("train", options["config"], options["settings"])


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(launch=LAUNCH),
        TrainConfig(
            launch=LAUNCH,
            objective=kto.settings(beta=0.25),
            model=ModelConfig(dtype="bfloat16", pad_token='<pad "ä" \U0001f600 \\ x=1>'),
            lora=LoraConfig(r=8, targets=("q_proj", "v_proj")),
            learning_rate=3.3e-07,
            max_steps=7,
            save_steps=5,
            logprob_chunk_tokens=64,
        ),
        TrainConfig(launch=LAUNCH, objective=dpo.settings(), seed=5),
        TrainConfig(launch=LAUNCH, objective=listmle.settings(beta=2.0), gradient_checkpointing=True),
        TrainConfig(
            launch=LAUNCH,
            objective=FunctionObjectiveConfig(target="my/losses.py:f", code=CODE, settings={"a": [1, {"b": "c"}]}),
        ),
    ],
)
def test_a_node_trains_with_the_settings(config: TrainConfig) -> None:
    options, found = parsed(build(config, Uris("s3://b/p", "s3://b/l", "s3://b/t", "s3://b/r")))
    assert found == config.model_copy(update={"checkpoints": "s3://b/t.checkpoints"})
    uris = {name: options[name] for name in ("policy", "lists", "trained", "reference")}
    assert uris == {"policy": "s3://b/p", "lists": "s3://b/l", "trained": "s3://b/t", "reference": "s3://b/r"}


def test_a_node_fetches_a_model_of_the_hub_by_its_commit() -> None:
    policy = f"org/name@{'0123456789' * 4}"
    options, _ = parsed(build(uris=Uris(policy, "s3://b/l", "s3://b/t", policy)))
    assert options["policy"] == options["reference"] == policy
    for unfit in (Uris("org/name@main", "s3://b/l", "s3://b/t"), Uris("s3://b/p", policy, "s3://b/t")):
        with pytest.raises(ConfigError, match="which other machines cannot reach"):
            build(uris=unfit)


def test_a_place_for_checkpoints_that_was_chosen_is_kept() -> None:
    _, found = parsed(build(TrainConfig(launch=LAUNCH, checkpoints="s3://other/place")))
    assert found.checkpoints == "s3://other/place"


def test_nodes_processes_image_and_resources() -> None:
    trainer = build(resources={"nvidia.com/gpu": "8", "memory": "900Gi"})["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["image"]) == (4, 8, "larpo-trainer:1")
    assert trainer["resourcesPerNode"]["limits"] == {"nvidia.com/gpu": "8", "memory": "900Gi"}
    assert build(deadline_s=3600)["spec"]["activeDeadlineSeconds"] == 3600
    assert "resourcesPerNode" not in build()["spec"]["trainer"]  # the runtime's hold


def lost(given: Any, found: Any, place: str = "") -> list[str]:
    """Fields that the models of Kubeflow Trainer drop or change: they say nothing of a name they do not know."""
    if isinstance(given, dict):
        return [
            text
            for name, value in given.items()
            for text in (lost(value, found[name], f"{place}.{name}") if name in (found or {}) else [f"{place}.{name}"])
        ]
    if isinstance(given, list):
        return [text for i, value in enumerate(given) for text in lost(value, found[i], f"{place}[{i}]")]
    return [] if given == found else [f"{place}: {given!r} became {found!r}"]


def test_the_trainers_models_know_every_field() -> None:
    job = build(resources={"nvidia.com/gpu": "8"}, deadline_s=3600)
    job["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Workflow", "name": "w", "uid": "u"}]
    assert lost(job, models.TrainerV1alpha1TrainJob.from_dict(job).to_dict()) == []
    job["spec"]["trainer"]["numNode"] = 2  # the check would see it
    assert lost(job, models.TrainerV1alpha1TrainJob.from_dict(job).to_dict()) == [".spec.trainer.numNode"]


def test_the_same_settings_make_the_same_trainjob() -> None:
    mark = "larpo.dev/spec"
    assert build() == build()
    other = build(TrainConfig(launch=LAUNCH, seed=1))["metadata"]["annotations"]
    assert other[mark] != build()["metadata"]["annotations"][mark]


def test_names_are_stable_and_fit_a_pod() -> None:
    name = job_name("0a1b2c3d-1111-2222-3333-444455556666", "train-12")
    assert name == job_name("0a1b2c3d-1111-2222-3333-444455556666", "train-12")
    assert name != job_name("0a1b2c3d-1111-2222-3333-444455556667", "train-12")
    assert len(f"{name}-node-0-99-abcde") <= 63


@pytest.mark.parametrize("name", ["", "Larpo", "1st", "ends-", "a_b", "a" * 46])
def test_names_that_kubernetes_refuses_are_refused_here(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a TrainJob"):
        build(name=name)


@pytest.mark.parametrize(
    ("run", "label"),
    [
        ("0a1b2c3d-1111-2222-3333-444455556666", "0a1b2c3d-1111-2222-3333-444455556666"),
        ("my run/1", "7e01178981c9c133620be1db84745253"),  # printf 'my run/1' | sha256sum | cut -c -32
        ("x" * 64, "7ce100971f64e7001e8fe5a51973ecdf"),
    ],
)
def test_any_run_has_a_label(run: str, label: str) -> None:
    assert run_label(run) == label


def test_several_machines_need_a_launcher() -> None:
    with pytest.raises(ValueError, match="nodes 2 needs a launcher"):
        LaunchConfig(nodes=2)


def test_a_pod_without_a_status_has_not_started() -> None:
    found = node({"metadata": {"name": "p", "uid": "u"}})
    assert (found.rank, found.started, found.ended, found.waiting, found.failure) == (0, False, False, "", "")


def test_a_pod_that_finds_no_machine_says_so() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes have GPUs"}
    pod = {"metadata": {"name": "p", "uid": "u"}, "status": {"phase": "Pending", "conditions": [condition]}}
    assert node(pod).waiting == "Unschedulable: 0/3 nodes have GPUs"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], ("running", "")),
        ([{"type": "Suspended", "status": "True"}], ("running", "")),
        ([{"type": "Failed", "status": "False"}], ("running", "")),
        ([{"type": "Suspended", "status": "False"}, {"type": "Complete", "status": "True"}], ("complete", "")),
        ([{"type": "Failed", "status": "True", "message": "late"}], ("failed", "late")),
    ],
)
def test_what_a_trainjob_does(conditions: list[dict[str, str]], expected: tuple[str, str]) -> None:
    assert state({"metadata": {}, "status": {"conditions": conditions}}) == expected
    assert state({"metadata": {"deletionTimestamp": "now"}, "status": {"conditions": conditions}}) == ("leaving", "")


def test_the_runtime_that_is_named_is_the_one_of_the_manifests() -> None:
    text = (Path(__file__).parents[3] / "k8s" / "training" / "runtime.yaml").read_text()
    reference = build()["spec"]["runtimeRef"]
    assert f"kind: {reference['kind']}\nmetadata:\n  name: {reference['name']}\n" in text
