"""Pods whose disks end with them, while MLflow is away: what they log waits in the run's store, and comes once."""

import gc
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from services.mlflow_thread import MlflowThread

from larpo_lib.config import LarpoConfig, PrepareConfig, TrackingConfig
from larpo_lib.loop import _deliver_waiting
from larpo_lib.pipeline import execute
from larpo_lib.pipeline.run_context import RunContext
from larpo_lib.plan import StepCall
from larpo_lib.run_files import run_key
from larpo_lib.run_place import RunPlace
from larpo_lib.steps.declarations import STEPS
from larpo_lib.storage import holding
from larpo_lib.tracking import Tracker

ROOT = "s3://larpo-bucket/runs/one"
LOSSES = [(1, 0.5), (2, 0.25)]
Pod = Callable[[str], RunContext]


@pytest.fixture
def pod(
    mlflow: MlflowThread, config: LarpoConfig, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: None
) -> Pod:
    """Begins a pod of a run, with a disk of its own; earlier pods' disks are gone."""
    monkeypatch.setattr("larpo_lib.pipeline.retries.sleep", lambda _: pytest.fail("it waited"))
    asked = config.model_copy(update={"tracking": TrackingConfig(uri=mlflow.uri, system_metrics=False)})
    parent = Tracker(asked.tracking, tmp_path / "begin").start_run("demo", "key", asked)
    context = RunContext(job="job", root=ROOT, name="demo", shown=None, parent=parent, config=asked)

    def begin(name: str) -> RunContext:
        gc.collect()  # the locks of the pods before go with their processes, which are this one here
        shutil.rmtree(tmp_path / "pods", ignore_errors=True)
        disk = tmp_path / "pods" / name
        disk.mkdir(parents=True)
        monkeypatch.chdir(disk)
        monkeypatch.setenv("LARPO_CACHE", str(disk / "cache"))
        return context

    return begin


def waiting(s3: Any) -> dict[str, bytes]:
    """The objects that wait, by name."""
    found = s3.list_objects_v2(Bucket="larpo-bucket", Prefix="runs/one/mlflow/").get("Contents", [])
    return {one["Key"]: s3.get_object(Bucket="larpo-bucket", Key=one["Key"])["Body"].read() for one in found}


def losses(mlflow: MlflowThread, parent: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient(mlflow.uri).get_metric_history(parent, "loss")]


def log(context: RunContext, page: Path) -> None:
    """Log a step with a curve and a file, as a pod does."""
    page.write_text("<html/>")
    tracker = context.tracker()
    with tracker.step("train", 1) as step:
        step.log_curve([{"step": number, "loss": loss} for number, loss in LOSSES])
        step.log_artifact(page)
    assert not tracker.settle()


def test_what_a_pod_could_not_deliver_is_delivered_by_the_next_one_once(
    mlflow: MlflowThread, pod: Pod, s3: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Also where the next one is killed after it has delivered, and before it forgets what waited."""
    first = pod("first")
    mlflow.refuse()
    log(first, Path("page.html"))
    assert caplog.messages[-1] == (
        f"What was logged still waits at {ROOT}/mlflow/waiting. The next step of the run delivers it, or the run "
        "submitted again."
    )
    kept = waiting(s3)
    second = pod("second")  # away still, from its beginning on
    second.log({"reward": 1.0}, 1)
    assert len(waiting(s3)) > len(kept)
    mlflow.back()
    pod("third").log({"reward": 2.0}, 2)
    for name in ("fourth", "fifth"):
        assert waiting(s3) == {}
        found = MlflowClient(mlflow.uri)
        run = found.get_run(first.parent)
        (step,) = found.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{first.parent}'")
        assert step.info.status == "FINISHED"
        assert losses(mlflow, step.info.run_id) == LOSSES
        assert [file.path for file in found.list_artifacts(step.info.run_id)] == ["page.html"]
        assert [point.value for point in found.get_metric_history(first.parent, "reward")] == [1.0, 2.0]
        for key, body in kept.items():
            s3.put_object(Bucket="larpo-bucket", Key=key, Body=body)
        pod(name).tracker().settle()


def test_a_step_succeeds_while_mlflow_is_away(
    mlflow: MlflowThread, pod: Pod, s3: Any, caplog: pytest.LogCaptureFixture
) -> None:
    context = pod("first")
    Path("rows.jsonl").write_text('{"prompt": "a"}\n')
    call = StepCall(
        STEPS["prepare"], "prepare", None, PrepareConfig(source="rows.jsonl"), {}, {"prompts": f"{ROOT}/prompts"}
    )
    mlflow.refuse()
    done = execute.execute(context, call)
    assert (done.metrics["prompts"], done.metadata["mlflow"]) == (1, "")
    assert context.journal.done() == {"prepare"}
    assert [one.levelno for one in caplog.records if "still waits" in one.getMessage()] == [logging.WARNING]
    mlflow.back()
    again = execute.describe(pod("second"), call)
    assert again.metadata["mlflow"].startswith(mlflow.uri)
    run = MlflowClient(mlflow.uri).get_run(again.metadata["mlflow"].rpartition("/")[2])
    assert (run.info.status, run.data.metrics["prompts"], waiting(s3)) == ("FINISHED", 1.0, {})


def test_of_two_pods_one_delivers(
    mlflow: MlflowThread, pod: Pod, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "BEAT_S", 0.05)
    first = pod("first")
    mlflow.refuse()
    log(first, Path("page.html"))
    delivering = pod("second").tracker()
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)  # the disk of another pod
        other = first.tracker()
    assert [len(tracker._outbox._spools) for tracker in (delivering, other)] == [1, 0]
    mlflow.back()
    assert other.settle()
    assert waiting(s3) != {}
    assert delivering.settle()
    assert waiting(s3) == {}


def test_a_finished_run_in_a_store_delivers_what_another_machine_left(
    mlflow: MlflowThread, pod: Pod, s3: Any, tmp_path: Path
) -> None:
    context = pod("first")
    mlflow.refuse()
    log(context, Path("page.html"))
    mlflow.back()
    pod("second")
    place = RunPlace.find(ROOT)
    place.work.mkdir(parents=True)
    run_key(place.work, ROOT)
    _deliver_waiting(context.config, place)
    assert waiting(s3) == {}
