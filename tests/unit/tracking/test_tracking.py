"""Runs are read back with MLflow's own client."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.signals import terminable
from larpo_lib.tracking import DataSet, Tracker, TrackingClient, resolve_uri

KEY = "4f2a"


@pytest.fixture
def config() -> LarpoConfig:
    return LarpoConfig.model_validate({"policy": "models/base", "prepare": {"source": "prompts.jsonl"}})


@pytest.fixture
def tracker(mlflow_store: Path) -> Tracker:
    return Tracker(TrackingConfig(), mlflow_store)


def reader(tracker: Tracker) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracker.uri)


def children(tracker: Tracker, parent: str) -> list[Any]:
    client = reader(tracker)
    experiment = client.get_run(parent).info.experiment_id
    return list(client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'", order_by=["start_time ASC"]))


def test_the_place_is_the_setting_then_the_environment_then_the_runs_own_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert resolve_uri(TrackingConfig(uri="http://setting"), tmp_path) == "http://setting"
    assert resolve_uri(TrackingConfig(), tmp_path) == "http://environment"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(TrackingConfig(), tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


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


def test_curves_keep_their_steps_and_logging_twice_is_logging_once(tracker: Tracker, config: LarpoConfig) -> None:
    rows: list[dict[str, float | None]] = [
        {"step": 10, "loss": 0.7},
        {"step": 20, "loss": 0.5, "learning_rate": 1e-6, "reward": None},
    ]
    with tracker.run("demo", KEY, config), tracker.step("train", 0) as step:
        step.log_curve(rows)
        step.log_curve(rows)
    client = reader(tracker)
    assert [(p.step, p.value) for p in client.get_metric_history(step.run_id, "loss")] == [(10, 0.7), (20, 0.5)]
    assert [(p.step, p.value) for p in client.get_metric_history(step.run_id, "learning_rate")] == [(20, 1e-6)]
    assert "reward" not in client.get_run(step.run_id).data.metrics


def test_artifacts_are_uploaded(tracker: Tracker, config: LarpoConfig, tmp_path: Path) -> None:
    plots = tmp_path / "plots"
    plots.mkdir()
    (plots / "reward.svg").write_text("<svg/>")
    (tmp_path / "report.html").write_text("<html/>")
    with tracker.run("demo", KEY, config), tracker.step("report", None) as step:
        step.log_artifact(tmp_path / "report.html")
        step.log_artifacts(plots)
    files = {file.path for file in reader(tracker).list_artifacts(step.run_id)}
    assert files == {"report.html", "reward.svg"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_refused_by_name(tracker: Tracker, config: LarpoConfig, value: float) -> None:
    with tracker.run("demo", KEY, config), tracker.step("train", 0) as step:
        with pytest.raises(TrackingError, match="metric 'loss' is"):
            step.log_metrics({"loss": value})
        with pytest.raises(TrackingError, match=r"metric 'loss' is .* at step 3"):
            step.log_curve([{"step": 3, "loss": value}])


def test_a_history_row_without_a_step_is_refused(tracker: Tracker, config: LarpoConfig) -> None:
    with (
        tracker.run("demo", KEY, config),
        tracker.step("train", 0) as step,
        pytest.raises(TrackingError, match=r"row 1 .* no 'step'"),
    ):
        step.log_curve([{"step": 1, "loss": 0.5}, {"loss": 0.4}])


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


def test_other_runs_iterations_and_steps_are_kept_apart(tracker: Tracker, config: LarpoConfig) -> None:
    seen = []
    for key in ("a", "b"):
        with tracker.run("demo", key, config) as run:
            seen.append(run.run_id)
            for step, iteration in (("sample", 0), ("sample", 1), ("sample", 11), ("train", 1), ("sample", None)):
                with tracker.step(step, iteration) as nested:
                    seen.append(nested.run_id)
                    assert not nested.finished
    assert len(set(seen)) == 12


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


def test_a_steps_run_has_the_parameters_of_its_own_section(tracker: Tracker, config: LarpoConfig) -> None:
    with tracker.run("demo", KEY, config) as parent:
        for _ in range(2):
            with tracker.step("sample", 1, {"sample": config.sample}):
                pass
        with tracker.step("merge", 1, {}):
            pass
    sample, merge = children(tracker, parent.run_id)
    assert sample.data.params["sample.k"] == "10"
    assert {name.partition(".")[0] for name in sample.data.params} == {"sample"}
    assert merge.data.params == {}


@pytest.mark.parametrize(
    ("source", "kind", "told"),
    [
        ("data/prompts.jsonl", "LocalArtifactDatasetSource", {"uri": "data/prompts.jsonl"}),
        ("s3://bucket/prompts", "S3ArtifactDatasetSource", {"uri": "s3://bucket/prompts"}),
        ("org/name:main", "HuggingFaceDatasetSource", {"path": "org/name", "config_name": "main", "split": "test"}),
    ],
)
def test_data_are_shown_with_a_step_and_its_parent(
    tracker: Tracker, config: LarpoConfig, source: str, kind: str, told: dict[str, str]
) -> None:
    """Once, however often they are logged; MLflow finds the kind of their source."""
    import mlflow.data

    data = DataSet("prompts", "training", "0123456789abcdef", 7, source, "test")
    with tracker.run("demo", KEY, config) as parent, tracker.step("sample", 1) as step:
        for _ in range(2):
            step.log_data(data)
    for run_id in (parent.run_id, step.run_id):
        (used,) = reader(tracker).get_run(run_id).inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("prompts", "0123456789abcdef")
        assert json.loads(used.dataset.profile) == {"num_rows": 7}
        assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
        found = mlflow.data.get_source(used.dataset)
        assert type(found).__name__ == kind
        assert found.to_dict().items() >= told.items()


def test_the_machine_is_watched_while_a_step_is_taken_unless_it_shall_not_be(
    mlflow_store: Path, config: LarpoConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    found = {}
    for watched in (True, False):
        tracker = Tracker(TrackingConfig(system_metrics=watched), mlflow_store)
        with tracker.run("demo", str(watched), config), tracker.step("train", 1) as step:
            time.sleep(0.4)
        names = reader(tracker).get_run(step.run_id).data.metrics
        found[watched] = {name for name in names if name.startswith("system/")}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= found[True]
    assert found[False] == set()


def test_in_a_pod_the_step_is_nested_under_the_run_of_the_pipeline(
    tracker: Tracker, config: LarpoConfig, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = reader(tracker)
    pipeline = client.create_run(client.create_experiment("pipelines"), run_name="pipeline")
    monkeypatch.setenv("MLFLOW_RUN_ID", pipeline.info.run_id)
    pod = Tracker(TrackingConfig(), mlflow_store)
    with pod.step("train", 2) as step:
        step.log_metrics({"loss": 0.5})
    (nested,) = children(tracker, pipeline.info.run_id)
    assert nested.info.run_id == step.run_id
    assert nested.info.experiment_id == pipeline.info.experiment_id
    with pod.run("demo", KEY, config) as run:
        assert run.run_id == pipeline.info.run_id
    assert client.get_run(pipeline.info.run_id).info.status == "RUNNING"


def test_a_step_without_a_run_says_what_is_missing(tracker: Tracker) -> None:
    with pytest.raises(TrackingError, match="Set MLFLOW_RUN_ID"), tracker.step("train", 0):
        pass


def test_credentials_in_the_setting_are_not_logged(tracker: Tracker, config: LarpoConfig) -> None:
    secret = config.model_copy(update={"tracking": TrackingConfig(uri="http://me:hunter2@host")})
    with tracker.run("demo", KEY, secret) as run:
        pass
    client = reader(tracker)
    assert client.get_run(run.run_id).data.params["tracking.uri"] == "http://***@host"
    logged = Path(client.download_artifacts(run.run_id, "config.json")).read_text("utf-8")
    assert json.loads(logged)["tracking"]["uri"] == "http://***@host"


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:hunter2@127.0.0.1:{port}",
        "http://user:hunter2/@p@127.0.0.1:{port}/prefix",
        "postgresql://127.0.0.1:{port}/db?user=me&password=hunter2",
    ],
)
def test_an_unreachable_server_is_told_quickly_and_without_the_password(uri: str, tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        start = time.monotonic()
        with pytest.raises(TrackingError) as raised:
            Tracker(TrackingConfig(uri=uri.format(port=closed.getsockname()[1])), tmp_path)
    assert time.monotonic() - start < 10
    assert "hunter2" not in str(raised.value)
    assert "tracking.uri or MLFLOW_TRACKING_URI" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_never_answers_is_told_within_ten_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        start = time.monotonic()
        with pytest.raises(TrackingError, match=r"127\.0\.0\.1"):
            TrackingClient(f"http://127.0.0.1:{mute.getsockname()[1]}")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("uri", ["file:///var/mlruns", "mlruns", "ftp://host", "postgresql://host:port/db", "http://["])
def test_a_bad_uri_is_told_with_a_remedy(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"tracking\.uri or MLFLOW_TRACKING_URI"):
        Tracker(TrackingConfig(uri=uri), tmp_path)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is text, not a database, and long enough to be looked at" * 50)
    with pytest.raises(TrackingError, match="not a database"):
        TrackingClient(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_new_store_is_made_without_a_word_and_importing_leaves_the_environment_alone(tmp_path: Path) -> None:
    code = """if True:
        import os, sys
        from pathlib import Path
        before = dict(os.environ)
        from larpo_lib.config import TrackingConfig
        from larpo_lib.tracking import Tracker
        assert before == dict(os.environ)
        assert "mlflow" not in sys.modules
        Tracker(TrackingConfig(), Path(sys.argv[1]) / "new" / "store")
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "new" / "store" / "mlflow.db").is_file()


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
