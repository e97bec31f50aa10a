"""Runs begin, end and are taken up again."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tracked import KEY, children, reader

from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.errors import HeldError
from larpo_lib.signals import terminable
from larpo_lib.tracking import Tracker


def test_a_run_holds_its_parameters_its_config_and_a_nested_run_for_each_step(
    tracker: Tracker, config: LarpoConfig, mlflow_store: Path
) -> None:
    with tracker.run("demo", KEY, config) as run:
        with tracker.step("prepare", None):
            pass
        with tracker.step("train", 1) as step:
            step.log_metrics({"lists": 12, "loss": 0.25, "accuracy": None})
    client = reader(tracker)
    parent = client.get_run(run.run_id)
    assert (parent.info.run_name, parent.info.status) == ("demo", "FINISHED")
    assert parent.data.params["policy"] == "models/base"
    assert parent.data.params["sample.sampler.type"] == "hf"
    assert parent.data.params["sample.k"] == "10"
    assert parent.data.params["lists.negatives"] == "null"
    logged = client.download_artifacts(run.run_id, "config.json")
    assert LarpoConfig.model_validate_json(Path(logged).read_text("utf-8")) == config
    assert list((mlflow_store / "artifacts").rglob("config.json"))
    first, second = children(tracker, run.run_id)
    assert (first.data.tags["larpo.step"], first.data.tags["larpo.iteration"]) == ("prepare", "none")
    assert (second.data.tags["larpo.step"], second.data.tags["larpo.iteration"]) == ("train", "1")
    assert second.data.metrics == {"lists": 12.0, "loss": 0.25}
    assert [first.info.status, second.info.status] == ["FINISHED", "FINISHED"]


def test_a_parameter_longer_than_mlflow_takes_is_cut(tracker: Tracker, config: LarpoConfig) -> None:
    long = config.model_copy(update={"policy": "x" * 20_000})
    with tracker.run("demo", KEY, long) as run:
        pass
    assert set(reader(tracker).get_run(run.run_id).data.params["policy"]) == {"x"}


def test_what_a_dead_process_left_running_is_taken_up_again(
    tracker: Tracker, config: LarpoConfig, mlflow_store: Path
) -> None:
    dead = ExitStack()  # never closed, as after kill -9
    parent = dead.enter_context(tracker.run("demo", KEY, config))
    with tracker.step("prepare", None) as done:
        done.log_metrics({"prompts": 5})
    left = dead.enter_context(tracker.step("train", 0))
    left.log_metrics({"loss": 0.5})

    again = Tracker(TrackingConfig(), mlflow_store)
    with again.run("demo", KEY, config) as run:
        assert run.run_id == parent.run_id
        with again.step("prepare", None) as step:
            assert (step.run_id, step.finished) == (done.run_id, True)
            step.log_metrics({"prompts": 6})
        with again.step("train", 0) as step:
            assert (step.run_id, step.finished) == (left.run_id, False)
            step.log_metrics({"loss": 0.5})
    client = reader(tracker)
    assert [point.value for point in client.get_metric_history(done.run_id, "prompts")] == [5.0]
    assert [point.value for point in client.get_metric_history(left.run_id, "loss")] == [0.5]
    assert [run.info.status for run in children(tracker, parent.run_id)] == ["FINISHED", "FINISHED"]
    assert client.get_run(parent.run_id).info.status == "FINISHED"


def test_a_run_that_raises_fails_with_the_error_and_a_repaired_one_finishes(
    tracker: Tracker, config: LarpoConfig
) -> None:
    def stumble() -> None:
        with tracker.run("demo", KEY, config), tracker.step("sample", 0):
            raise RuntimeError("out of\nmemory at http://me:secret@host")

    with pytest.raises(RuntimeError, match="out of"):
        stumble()
    client = reader(tracker)
    (parent,) = client.search_runs(["2"], f"tags.`larpo.run_key` = '{KEY}'")
    (step,) = children(tracker, parent.info.run_id)
    for run in (parent, step):
        assert run.info.status == "FAILED"
        assert run.data.tags["larpo.error"] == "RuntimeError: out of memory at http://***@host"

    with tracker.run("demo", KEY, config), tracker.step("sample", 0) as nested:
        assert nested.run_id == step.info.run_id
        assert client.get_run(nested.run_id).info.status == "RUNNING"
    repaired = client.get_run(nested.run_id)
    assert repaired.info.status == "FINISHED"
    assert "larpo.error" not in repaired.data.tags


def test_a_process_that_finds_another_one_at_work_leaves_its_runs_to_it(
    tracker: Tracker, mlflow_store: Path, config: LarpoConfig
) -> None:
    def found() -> list[tuple[str, str, bool]]:
        runs = reader(tracker).search_runs(["1", "2"])
        return sorted((run.info.run_name, run.info.status, "larpo.error" in run.data.tags) for run in runs)

    def refused() -> None:
        other = Tracker(TrackingConfig(), mlflow_store)
        with other.run("demo", KEY, config), other.step("sample", 1):
            raise HeldError("out: another process is writing it")

    at_work = [("demo", "RUNNING", False), ("sample-1", "RUNNING", False)]
    with tracker.run("demo", KEY, config), tracker.step("sample", 1):
        before = found()
        with pytest.raises(HeldError):
            refused()
        assert found() == before == at_work
    assert found() == [(name, "FINISHED", error) for name, _, error in at_work]


@pytest.mark.usefixtures("_signals_heard")
@pytest.mark.parametrize("interrupt", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_is_killed_and_finishes_when_it_is_taken_up_again(
    tracker: Tracker, config: LarpoConfig, interrupt: signal.Signals
) -> None:
    def at_work() -> None:
        with terminable(), tracker.run("demo", KEY, config), tracker.step("sample", 1):
            os.kill(os.getpid(), interrupt)
            time.sleep(10)

    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        at_work()
    assert getattr(ended.value, "code", None) == (143 if interrupt == signal.SIGTERM else None)
    client = reader(tracker)
    (parent,) = client.search_runs(["2"], f"tags.`larpo.run_key` = '{KEY}'")
    (step,) = children(tracker, parent.info.run_id)
    assert [(run.info.status, run.data.tags.get("larpo.error")) for run in (parent, step)] == [("KILLED", None)] * 2
    with tracker.run("demo", KEY, config), tracker.step("sample", 1) as again:
        assert again.run_id == step.info.run_id
        assert {client.get_run(run).info.status for run in (parent.info.run_id, step.info.run_id)} == {"RUNNING"}
    assert {client.get_run(run).info.status for run in (parent.info.run_id, step.info.run_id)} == {"FINISHED"}


def test_a_run_that_others_ended_takes_the_steps_with_it_that_are_still_open(
    tracker: Tracker, config: LarpoConfig, mlflow_store: Path
) -> None:
    run_id = tracker.start_run("demo", KEY, config)
    pod = Tracker(TrackingConfig(), mlflow_store, run_id)
    with pod.step("prepare", None):
        pass
    dead = ExitStack()  # never closed, as in a pod that is lost
    lost = dead.enter_context(pod.step("train", 1))
    pod.end_run("KILLED", "# Run: TERMINATED")
    assert [run.info.status for run in children(tracker, run_id)] == ["FINISHED", "KILLED"]
    client = reader(tracker)
    assert client.get_run(run_id).info.status == "KILLED"
    assert lost.run_id in {run.info.run_id for run in children(tracker, run_id)}


def test_an_artifact_has_one_run_however_often_it_is_logged(
    tracker: Tracker, config: LarpoConfig, tmp_path: Path
) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"png")
    for key in ("x", "x", "y"):
        with tracker.standalone_run("quiz", key, config) as run:
            run.log_metrics({"quiz/right": 0.5})
            run.log_artifacts(tmp_path / "figures", "figures")
    client = reader(tracker)
    experiment = client.get_run(run.run_id).info.experiment_id
    runs = client.search_runs([experiment])
    assert [found.info.status for found in runs] == ["FINISHED"] * 2
    assert len(client.get_metric_history(runs[-1].info.run_id, "quiz/right")) == 1
    assert [file.path for file in client.list_artifacts(runs[-1].info.run_id, "figures")] == ["figures/a.png"]


def test_an_artifacts_run_is_nested_under_the_given_one(
    tracker: Tracker, config: LarpoConfig, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracker.run("demo", KEY, config) as parent:
        pass
    monkeypatch.setenv("MLFLOW_RUN_ID", parent.run_id)
    with Tracker(TrackingConfig(), mlflow_store).standalone_run("quiz", "x", config) as run:
        pass
    assert [child.info.run_id for child in children(tracker, parent.run_id)] == [run.run_id]
