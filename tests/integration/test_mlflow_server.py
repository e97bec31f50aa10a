"""Runs and the registry against a real MLflow server; its database is PostgreSQL where there is one to start."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from services.mlflow_server import database, mlflow_server
from stored_artifacts import make_artifact, make_evaluation
from table_rows import ranked

from larpo_lib.artifacts import digest
from larpo_lib.config import LarpoConfig, PromoteConfig, TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.registry import Registry, VersionFacts
from larpo_lib.steps import promote
from larpo_lib.storage import publish
from larpo_lib.tracking import Tracker

MODEL = "served-policy"
CONFIG = {"policy": "models/base", "prepare": {"source": "prompts.jsonl"}}

# A process that is in the middle of a step when it is killed.
KILLED = f"""
import os, signal, sys
from pathlib import Path
from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.tracking import Tracker
tracker = Tracker(TrackingConfig(uri=sys.argv[1]), Path(sys.argv[2]))
with tracker.run("killed", "key-of-killed", LarpoConfig.model_validate({CONFIG!r})) as run:
    with tracker.step("sample", 0) as step:
        step.log_metrics({{"responses": 8}})
    with tracker.step("train", 0) as step:
        step.log_curve([{{"step": 1, "loss": 0.5}}])
        print(run.run_id, step.run_id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with database(folder) as backend, mlflow_server(backend, folder) as uri:
        yield uri


@pytest.fixture(autouse=True)
def no_outer_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


def evaluation(folder: Path, reward: float) -> Path:
    rows = [ranked(f"p{number}", "text", reward) for number in range(10)]
    return make_evaluation(folder, rows)


def policy(folder: Path, weights: bytes) -> Path:
    (folder / "shards").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "shards" / "model.safetensors").write_bytes(weights)
    return folder


def test_a_killed_run_is_taken_up_again_by_the_next_process(server: str, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, server, tmp_path], capture_output=True, text=True, check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run_id, step_id = killed.stdout.split()
    client = MlflowClient(server)
    assert {client.get_run(run).info.status for run in (run_id, step_id)} == {"RUNNING"}

    tracker = Tracker(TrackingConfig(uri=server), tmp_path)
    with tracker.run("killed", "key-of-killed", LarpoConfig.model_validate(CONFIG)) as run:
        with tracker.step("sample", 0) as step:
            assert step.finished
        with tracker.step("train", 0) as step:
            assert (run.run_id, step.run_id, step.finished) == (run_id, step_id, False)
            step.log_curve([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
            step.log_artifacts(policy(tmp_path / "uploaded", b"w"))
    history = [(point.step, point.value) for point in client.get_metric_history(step_id, "loss")]
    assert history == [(1, 0.5), (2, 0.25)]
    assert {client.get_run(run).info.status for run in (run_id, step_id)} == {"FINISHED"}
    assert client.get_run(run_id).data.params["sample.k"] == "10"
    assert [file.path for file in client.list_artifacts(run_id)] == ["config.json"]
    assert {file.path for file in client.list_artifacts(step_id)} == {"config.json", "shards"}
    assert not list(tmp_path.glob("mlflow.db"))


def test_a_policy_goes_through_the_gate_comes_back_the_same_and_is_rolled_back(server: str, tmp_path: Path) -> None:
    tracker = Tracker(TrackingConfig(uri=server), tmp_path / "store")
    sources = {name: policy(tmp_path / name, name.encode() * 100_000) for name in ("first", "second")}
    outcomes = []
    with tracker.run("demo", "key-of-demo", LarpoConfig.model_validate(CONFIG)):
        for iteration, (name, reward) in enumerate((("first", 0.25), ("second", 0.75))):
            with tracker.step("promote", iteration) as step:
                metrics = promote.run(
                    PromoteConfig(model_name=MODEL),
                    policy=sources[name],
                    evaluation=evaluation(tmp_path / f"evaluation-{name}", reward),
                    baseline=None,
                    promotion=tmp_path / f"promotion-{name}",
                    registry=Registry(tracker.uri, step.run_id),
                )
                step.log_metrics(metrics)
                outcomes.append((metrics["promoted"], metrics["difference"], step.run_id))
    assert [outcome[:2] for outcome in outcomes] == [(1, None), (1, 0.5)]
    client = MlflowClient(server)
    champion = client.get_model_version_by_alias(MODEL, "champion")
    assert champion.run_id == outcomes[1][2]
    assert client.get_run(champion.run_id).data.metrics == {
        "promoted": 1,
        "probability": 1,
        "difference": 0.5,
        "prompts": 10,
        "mean_reward": 0.75,
        "mean_reward_low": 0.75,
        "mean_reward_high": 0.75,
    }

    assert [made.model_id for made in client.get_run(champion.run_id).outputs.model_outputs] == [
        champion.tags["larpo.model_id"]
    ]
    for reward in (0.875, 0.75):  # evaluated again, by the same run
        promote.run(
            PromoteConfig(model_name=MODEL),
            policy=sources["second"],
            evaluation=evaluation(tmp_path / f"evaluation-{reward}", reward),
            baseline=None,
            promotion=tmp_path / f"promotion-{reward}",
            registry=Registry(tracker.uri, champion.run_id),
        )
        assert client.get_run(champion.run_id).data.metrics["mean_reward"] == reward
        (newest,) = client.search_logged_models(
            [client.get_run(champion.run_id).info.experiment_id], f"metrics.mean_reward = {reward}"
        )
        assert newest.model_id == champion.tags["larpo.model_id"]
    registry = Registry(server)
    fetched = registry.download(f"models:/{MODEL}@champion", tmp_path / "fetched")
    assert digest(fetched) == digest(sources["second"])
    assert registry.rollback(MODEL) == (2, 1)
    before = registry.download(f"models:/{MODEL}@champion", tmp_path / "before")
    assert digest(before) == digest(sources["first"])


def test_the_server_takes_a_version_whose_policy_stays_in_an_object_store(server: str, tmp_path: Path, s3: Any) -> None:
    """MLflow itself has no access to the store."""
    trained, place = make_artifact(tmp_path / "trained"), "s3://larpo-bucket/run/policy"
    publish(trained, place)
    tracker = Tracker(TrackingConfig(uri=server), tmp_path / "store")
    with tracker.run("demo", "key-of-store", LarpoConfig.model_validate(CONFIG)), tracker.step("promote", 0) as step:
        registry = Registry(server, step.run_id)
        facts = VersionFacts(card="---\nlicense: mit\n---\n")
        version = registry.register(trained, model_name="stays", evaluation={"a": 1}, place=place, facts=facts)
    assert MlflowClient(server).get_model_version("stays", str(version)).source == place
    assert registry.evaluation("stays", version) == {"a": 1}
    fetched = registry.download("models:/stays/1", tmp_path / "fetched")
    assert digest(fetched) == digest(trained)
    assert (fetched / "README.md").read_text() == facts.card


def test_what_the_server_refuses_is_told_in_one_line_without_the_password(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("larpo_lib.tracking.server.allowed", lambda names: {name: name for name in names})
    tracker = Tracker(TrackingConfig(uri=server.replace("//", "//me:hunter2@")), tmp_path)
    with (
        tracker.run("demo", "key-of-refused", LarpoConfig.model_validate(CONFIG)),
        tracker.step("evaluate", 0) as step,
        pytest.raises(TrackingError, match="pass@8") as raised,
    ):
        step.log_metrics({"pass@8": 0.5})
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)
