from collections.abc import Iterator
from pathlib import Path

import pytest
from services.mlflow_thread import MlflowThread

from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.tracking import Tracker, client, outbox


@pytest.fixture
def config() -> LarpoConfig:
    return LarpoConfig.model_validate({"policy": "models/base", "prepare": {"source": "prompts.jsonl"}})


@pytest.fixture
def tracker(mlflow_store: Path) -> Tracker:
    return Tracker(TrackingConfig(), mlflow_store)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch, mlflow_store: Path) -> Iterator[MlflowThread]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(client, "_PROBE_TIMEOUT_S", 1)
    monkeypatch.setattr(outbox, "_PAUSE_S", 0.0)
    running = MlflowThread(monkeypatch, mlflow_store)
    yield running
    running.back()
    running.refuse()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_PATIENCE_S", 2.0)


@pytest.fixture
def tracking(mlflow: MlflowThread) -> TrackingConfig:
    return TrackingConfig(uri=mlflow.uri, system_metrics=False)
