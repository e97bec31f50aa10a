"""Where the tasks of `larpo` run and where its artifacts live, on the emulated backend with quick steps."""

from pathlib import Path
from typing import Any

import pytest
from larpo_runs import Pipeline
from services.radosgw import Gateway

from larpo_lib.pipeline import execute

HEAVY = ("sample", "rerank", "train", "evaluate", "sft")
SELECTOR = {"node.kubernetes.io/instance-type": "p5.48xlarge"}
TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def test_tasks_with_a_model_and_no_others_are_placed(pipeline: Pipeline) -> None:
    pipeline.set(
        {"demonstrations": {"source": "demonstrations"}}, rounds=1, shards=2, node_selector=SELECTOR,
        tolerations=[TAINT], sample_gpus="1", sample_memory="80Gi", rerank_memory="24Gi", evaluate_gpus="1",
        train_memory="160Gi",
    )  # fmt: skip
    outcome, _ = pipeline.run(pipeline.backend())
    assert outcome.phase == "Succeeded"
    pods = {path.rpartition("/")[2]: pod for path, pod in outcome.pods.items()}
    assert {name for name, pod in pods.items() if pod.node_selector == SELECTOR and pod.tolerations == [TAINT]} == {
        *HEAVY
    }
    assert all(not (pod.node_selector or pod.tolerations) for name, pod in pods.items() if name not in HEAVY)
    assert {name: pods[name].limits for name in HEAVY} == {
        "sample": {"memory": "80Gi", "nvidia.com/gpu": "1"},
        "rerank": {"memory": "24Gi", "nvidia.com/gpu": "0"},
        "train": {"memory": "160Gi", "nvidia.com/gpu": "0"},
        "sft": {"memory": "160Gi", "nvidia.com/gpu": "0"},
        "evaluate": {"memory": "8Gi", "nvidia.com/gpu": "1"},
    }


def test_a_task_that_follows_other_machines_asks_for_little(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def follow(context: Any, call: Any, image: str) -> execute.StepResult:
        asked.append((context.resources, image))
        return execute._once(context, call)

    monkeypatch.setattr(execute, "_once_on_nodes", follow)
    settings = {
        "train": {"launch": {"launcher": "deepspeed", "nodes": 2, "nproc": 8}},
        "sft": {"launch": {"launcher": "torchrun"}},
        "demonstrations": {"source": "demonstrations"},
    }
    pipeline.set(settings, rounds=1, train_gpus="8", train_memory="400Gi")
    outcome, text = pipeline.run(pipeline.backend())
    assert outcome.phase == "Succeeded", text
    (train,) = [pod for path, pod in outcome.pods.items() if path.endswith("/train")]
    assert train.limits == {"memory": "2Gi", "nvidia.com/gpu": "0"}
    (sft,) = [pod for path, pod in outcome.pods.items() if path.endswith("/sft")]  # trains in its own pod
    assert sft.limits == {"memory": "400Gi", "nvidia.com/gpu": "8"}
    assert asked == [({"memory": "400Gi", "nvidia.com/gpu": "8"}, train.image)]


def test_a_memory_that_is_no_amount_is_refused_before_any_pod_asks_for_it(pipeline: Pipeline) -> None:
    pipeline.set({}, rounds=1, sample_memory="80 gigabytes")
    outcome, text = pipeline.run(pipeline.backend())
    assert (outcome.phase, outcome.tasks()) == ("Failed", ["start", "final-report"])
    assert "sample_memory" in text


def test_without_a_place_to_live_a_run_says_what_to_set(pipeline: Pipeline) -> None:
    pipeline.given = {}
    outcome, text = pipeline.run(pipeline.backend())
    assert (outcome.phase, outcome.tasks()) == ("Failed", ["start", "final-report"])
    assert "Set root to an s3:// URI" in text


def test_a_run_on_s3_fails_says_so_and_goes_on(
    pipeline: Pipeline, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**gateway.environment, "MLFLOW_TRACKING_URI": "http://mlflow.invalid"}.items():
        monkeypatch.setenv(name, value)
    gateway.client().create_bucket(Bucket="emulated")
    pipeline.set({}, root="s3://emulated/runs", rounds=1, shards=2)
    pipeline.quick.broken = "build_lists-1"
    outcome, text = pipeline.run(pipeline.backend(seed=1))
    assert outcome.phase == "Failed"
    assert "- **build_lists-1**: injected" in text
    pipeline.quick.broken = ""
    again, text = pipeline.run(pipeline.backend(seed=2))
    assert again.phase == "Succeeded"
    assert text.startswith("# Run one: SUCCEEDED")
    names = [Path(path).name for path in pipeline.quick.made]
    assert (names.count("lists"), names.count("policy")) == (1, 1)
    pipeline.set({"sample": {"k": 3}}, root="s3://emulated/runs", rounds=1, shards=2)
    other, text = pipeline.run(pipeline.backend())
    assert (other.phase, other.tasks()) == ("Failed", ["start", "final-report"])
    assert "iteration-1/candidates: exists already, but was made with config.k 10 instead of 3" in text
