"""MLflow goes away and comes back: nothing is lost, nothing is doubled, and nobody waits for long."""

import errno
import gc
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from services.mlflow_thread import MlflowThread

from larpo_lib.config import LarpoConfig, TrackingConfig, load_config
from larpo_lib.errors import StorageError, TrackingError
from larpo_lib.loop import run_loop
from larpo_lib.registry import Registry
from larpo_lib.steps import processes
from larpo_lib.tracking import DataSet, Run, Tracker, deliver_waiting, outbox

CONFIG = LarpoConfig.model_validate({"policy": "models/base", "prepare": {"source": "prompts.jsonl"}})
STEPS = 6
LOSSES = [(step, 1 / step) for step in range(1, STEPS + 1)]


def losses(mlflow: MlflowThread, run_id: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient(mlflow.uri).get_metric_history(run_id, "loss")]


def runs(mlflow: MlflowThread) -> list[Any]:
    found = MlflowClient(mlflow.uri)
    experiment = found.get_experiment_by_name("larpo")
    return list(found.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def outage_in_a_training(tracker: Tracker, mlflow: MlflowThread, outage: str, log_of: Any) -> float:
    """A run with one training, in the middle of which MLflow goes away; the seconds that the training waited."""
    with tracker.run("demo", "key", CONFIG), tracker.step("train", 1) as step, log_of(step) as log:
        start = time.monotonic()
        for number, loss in LOSSES:
            if number == 3:
                getattr(mlflow, outage)()
            log({"loss": loss}, number)
        waited = time.monotonic() - start
        mlflow.back()
    return waited


@contextmanager
def in_one_process(step: Run) -> Iterator[Any]:
    yield lambda row, number: step.log_curve([{**row, "step": number}])


@contextmanager
def in_several_processes(step: Run, lines: Path) -> Iterator[Any]:
    """They write lines, which the one that started them hands on."""

    def log(row: dict[str, float], number: int) -> None:
        with lines.open("a") as file:
            file.write(json.dumps([row, number]) + "\n")

    with processes._followed(lines, lambda row, number: step.log_curve([{**row, "step": number}])):
        yield log


@pytest.mark.parametrize(("outage", "several"), [("refuse", False), ("be_silent", True)])
def test_a_training_goes_on_without_mlflow_and_its_curve_is_whole_afterwards(
    mlflow: MlflowThread, tracking: TrackingConfig, tmp_path: Path, outage: str, several: bool, patient: None
) -> None:
    def log_of(step: Run) -> Any:
        return in_several_processes(step, tmp_path / "steps.jsonl") if several else in_one_process(step)

    waited = outage_in_a_training(Tracker(tracking, tmp_path / "mlflow"), mlflow, outage, log_of)
    assert waited < 3
    run, step = runs(mlflow)
    assert losses(mlflow, step.info.run_id) == LOSSES
    assert [one.info.status for one in (run, step)] == ["FINISHED"] * 2
    assert step.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert not [*tmp_path.glob("mlflow/waiting")]


def end_without_mlflow(mlflow: MlflowThread, tracking: TrackingConfig, folder: Path) -> None:
    """A run whose last step begins and ends while MLflow is away, and whose process ends before it is back."""
    page = folder / "report.html"
    page.write_text("<html/>")
    tracker = Tracker(tracking, folder / "mlflow")
    with tracker.run("demo", "key", CONFIG) as parent:
        with tracker.step("prepare", None) as step:
            step.log_metrics({"prompts": 5})
        mlflow.refuse()
        with tracker.step("train", 1, {"train": CONFIG.train}) as step:
            step.log_curve([{"step": number, "loss": loss} for number, loss in LOSSES])
            step.log_data(DataSet("prompts", "training", "0123456789abcdef", 7, "org/name", "test"))
            step.log_artifact(page)
            parent.log_metrics({"reward": 0.5}, step=1)
        page.unlink()


def test_what_a_process_left_is_delivered_by_the_next_command_once(
    mlflow: MlflowThread, tracking: TrackingConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is delivered: a copy of what waited is delivered again, as after a kill in between."""
    end_without_mlflow(mlflow, tracking, tmp_path)
    store = tmp_path / "mlflow"
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert [text.partition(":")[0] for text in told][:1] == ["MLflow is away"]
    assert told[1:] == [
        f"What was logged still waits in {store / 'waiting'}. Run the same command again to deliver it."
    ]
    deliver_waiting(tracking, store)  # away still
    gc.collect()  # the locks of the trackers above go with their processes, which are this one here
    shutil.copytree(store / "waiting", tmp_path / "copy")
    mlflow.back()
    for _ in range(2):
        deliver_waiting(tracking, store)
        assert not (store / "waiting").exists()
        run, prepared, trained = runs(mlflow)
        assert [one.info.status for one in (run, prepared, trained)] == ["FINISHED"] * 3
        assert losses(mlflow, trained.info.run_id) == LOSSES
        found = MlflowClient(mlflow.uri)
        assert len(found.get_metric_history(run.info.run_id, "reward")) == 1
        assert [file.path for file in found.list_artifacts(trained.info.run_id)] == ["report.html"]
        assert [used.dataset.name for used in trained.inputs.dataset_inputs] == ["prompts"]
        assert trained.data.params["train.seed"] == "0"
        shutil.copytree(tmp_path / "copy", store / "waiting")


def test_only_a_run_that_has_begun_starts_without_mlflow(
    mlflow: MlflowThread, tracking: TrackingConfig, tmp_path: Path
) -> None:
    mlflow.refuse()
    with pytest.raises(TrackingError, match="that the server is running"):
        Tracker(tracking, tmp_path / "mlflow")
    tracker = Tracker(tracking, tmp_path / "mlflow", begun=True)
    with tracker.run("demo", "key", CONFIG), tracker.step("sample", 1) as step:
        step.log_metrics({"responses": 8})
    mlflow.back()
    again = Tracker(tracking, tmp_path / "other")
    with again.run("demo", "key", CONFIG), again.step("sample", 1) as step:
        step.log_metrics({"responses": 8})
    tracker.settle()
    assert [one.info.run_name for one in runs(mlflow)] == ["demo", "sample-1"]


def test_a_run_that_never_reached_mlflow_does_not_begin_at_the_second_try_either(
    mlflow: MlflowThread, tiny_world: Path, tmp_path: Path
) -> None:
    mlflow.refuse()
    config = load_config(tiny_world / "larpo.toml", [f"tracking.uri={mlflow.uri}"])
    for _ in range(2):
        with pytest.raises(TrackingError, match="that the server is running"):
            run_loop(config, tmp_path / "run")
    assert not (tmp_path / "run" / "prompts").exists()


def test_the_registry_alone_needs_mlflow_and_says_so(
    mlflow: MlflowThread, tracking: TrackingConfig, tmp_path: Path
) -> None:
    tracker = Tracker(tracking, tmp_path / "mlflow")

    def register() -> None:
        with tracker.run("demo", "key", CONFIG):
            mlflow.refuse()
            with tracker.step("promote", None) as step:
                Registry(step.uri, step.run_id)

    with pytest.raises(TrackingError, match=r"the model registry needs it\. Start the server") as raised:
        register()
    assert raised.value.transient
    mlflow.back()
    tracker.deliver()
    assert [one.info.status for one in runs(mlflow)] == ["FAILED"] * 2


def test_what_mlflow_can_never_take_is_left_out_of_what_waited(
    mlflow: MlflowThread,
    tracking: TrackingConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("larpo_lib.tracking.server.allowed", lambda names: {name: name for name in names})
    tracker = Tracker(tracking, tmp_path / "mlflow")
    with tracker.run("demo", "key", CONFIG), tracker.step("evaluate", 1) as step:
        mlflow.refuse()
        step.log_metrics({"pass@8": 0.5})
        step.log_metrics({"loss": 0.5})
        mlflow.back()
    assert losses(mlflow, step.run_id) == [(0, 0.5)]
    assert any("Left out" in one.getMessage() and "pass@8" in one.getMessage() for one in caplog.records)


def test_the_machine_is_watched_during_an_outage(
    mlflow: MlflowThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    tracker = Tracker(TrackingConfig(uri=mlflow.uri), tmp_path / "mlflow")
    with tracker.run("demo", "key", CONFIG), tracker.step("train", 1) as step:
        mlflow.refuse()
        time.sleep(0.4)
        mlflow.back()
    samples = MlflowClient(mlflow.uri).get_metric_history(step.run_id, "system/cpu_utilization_percentage")
    assert [sample.step for sample in samples] == [*range(len(samples))]
    assert len(samples) > 2


def test_what_fails_while_steps_of_several_processes_are_logged_is_told(tmp_path: Path) -> None:
    def log(row: Any, number: int) -> None:
        raise TrackingError(f"metric 'loss' is nan at step {number}")

    def train() -> None:
        with processes._followed(tmp_path / "steps.jsonl", log):
            (tmp_path / "steps.jsonl").write_text('[{"loss": NaN}, 1]\n')

    with pytest.raises(TrackingError, match="is nan at step 1"):
        train()


class Nobody:
    """In place of a server: answers nothing, or takes everything."""

    uri = "http://127.0.0.1:9"

    def __init__(self, *, away: bool) -> None:
        self.away = away

    def deliver(self, entry: Any) -> None:
        if self.away:
            raise TrackingError("MLflow does not answer", remedy="Start it", transient=True)

    def probe(self) -> None:
        self.deliver({})


@pytest.mark.parametrize("away", [True, False])
def test_a_disk_that_is_gone_too_is_told_to_whoever_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """And not by the thread that delivers."""
    unhandled: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", unhandled.append)
    box = outbox.Outbox(Nobody(away=True), tmp_path)  # type: ignore[arg-type]
    if not away:
        box.send({"kind": "text"})
        box.server.away = False  # type: ignore[attr-defined]
        monkeypatch.setattr(shutil, "rmtree", _gone)
        assert box.settle(5.0)
    else:
        monkeypatch.setattr(outbox.Spool, "make", _gone)
        with pytest.raises(StorageError, match="Stale file handle"):
            box.send({"kind": "text"})
    while any(thread.name == "mlflow" for thread in threading.enumerate()):
        time.sleep(0.01)
    assert unhandled == []


def _gone(place: Path, *_: Any) -> None:
    """Of a folder to be made as larpo tells it, of one to be removed as Python does."""
    if "waiting" in place.parts:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    raise StorageError(f"{place}: cannot be created: {os.strerror(errno.ESTALE)}", remedy="Choose another directory")
