"""What tests of several modules share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config import TrackingConfig
from larpo_lib.tracking import Tracker


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds, copying it none."""
    store = tmp_path_factory.mktemp("mlflow")
    Tracker(TrackingConfig(uri=f"sqlite:///{store / 'mlflow.db'}", experiment="empty"), store)
    return store / "mlflow.db"


@pytest.fixture
def mlflow_store(mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own for a test, as `Tracker` takes it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    store = tmp_path / "mlflow"
    store.mkdir()
    shutil.copyfile(mlflow_database, store / "mlflow.db")
    return store


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Finds a published file by its name; skips the test where it is absent."""

    def find(name: str) -> Path:
        default = Path(__file__).parents[3] / "shared" / "data"
        path = Path(os.environ.get("LARPO_SHARED_DATA", default)) / name
        if not path.exists():
            pytest.skip(f"published test data {name} are absent; set LARPO_SHARED_DATA to their folder")
        return path

    return find


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of moto's S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A client of the test's own, with the bucket larpo-bucket; the environment points larpo to the same server."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    client.create_bucket(Bucket="larpo-bucket")
    yield client
    for item in client.list_objects_v2(Bucket="larpo-bucket").get("Contents", []):
        client.delete_object(Bucket="larpo-bucket", Key=item["Key"])
    client.delete_bucket(Bucket="larpo-bucket")
