"""What is logged to the run of a step."""

import json
import math
import time
from pathlib import Path

import pytest
from tracked import KEY, children, reader

from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.tracking import DataSet, Tracker


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
