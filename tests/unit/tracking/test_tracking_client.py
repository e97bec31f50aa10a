"""Where MLflow is, and what is told of one that cannot be used."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tracked import KEY, reader

from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.tracking import Tracker, TrackingClient, resolve_uri


def test_the_place_is_the_setting_then_the_environment_then_the_runs_own_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert resolve_uri(TrackingConfig(uri="http://setting"), tmp_path) == "http://setting"
    assert resolve_uri(TrackingConfig(), tmp_path) == "http://environment"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(TrackingConfig(), tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


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
