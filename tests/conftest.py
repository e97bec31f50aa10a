"""What all tests share."""

import gc
import inspect
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import figures
import pytest
from hub_double import HubDouble, serve_hub
from hypothesis import HealthCheck, settings
from notebook import NotebookRun, run_in_notebook
from services.radosgw import Gateway, missing_programs, radosgw
from skipped import skipped_line
from tiny_world import Larpo, command_line, make_prepared_world, make_tiny_world

from larpo_lib import RunResult, logs
from larpo_lib.config import TrackingConfig
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import vocabulary
from larpo_lib.tracking import Tracker

_SLOW_MACHINES = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", derandomize=True, **_SLOW_MACHINES)
settings.register_profile("fuzz", max_examples=5000, **_SLOW_MACHINES)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first, so that no process ends with it."""
    items.sort(key=lambda item: item.path.name != "test_reproduce.py")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say in the last line what was skipped."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.option.collectonly:
        return
    reports = reporter.stats.get("skipped", [])
    reporter.write_line(skipped_line([report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]))


@pytest.fixture(scope="module", autouse=True)
def libraries_are_no_garbage() -> None:
    """Every training begins with a full garbage collection, which looks at all that was imported: most of its time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def _signals_heard() -> Iterator[None]:
    """Signals end this process also where a shell or nohup has started it with some of them ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def stacks_without_source() -> Iterator[None]:
    """KFP looks at the whole stack whenever a task is given anything: below pytest, seconds for each compilation."""
    stack = inspect.stack
    with mock.patch.object(inspect, "stack", lambda context=0: stack(context)):
        yield


@pytest.fixture(scope="session", autouse=True)
def figures_in_name() -> Iterator[None]:
    """Runs draw their figures, and save them in name; tests of what is saved use `saved_figures`."""
    with figures.saved_in_name():
        yield


@pytest.fixture(scope="module")
def saved_figures() -> Iterator[None]:
    """Figures as users get them."""
    with figures.saved():
        yield


@pytest.fixture(autouse=True)
def logs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test sets up of the logs ends with it; `caplog` reads them until then."""
    ours, root = logging.getLogger("larpo_lib"), logging.getLogger()
    level = root.level
    monkeypatch.setenv(logs.VARIABLE, "")
    monkeypatch.setattr(ours, "handlers", [])
    monkeypatch.setattr(ours, "propagate", True)
    ours.setLevel(logging.INFO)  # the attribute alone would leave loggers below it with what they remember of its level
    yield
    root.setLevel(level)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks the public hub for models; the fixture `hub` is one of the test's own."""
    monkeypatch.setenv("HF_HOME", "")  # what a test's pods set of it ends with the test
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # it has read the variable already
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Finds a published file by its name; skips the test where it is absent."""

    def find(name: str) -> Path:
        default = Path(__file__).parents[2] / "shared" / "data"
        path = Path(os.environ.get("LARPO_SHARED_DATA", default)) / name
        if not path.exists():
            pytest.skip(f"published test data {name} are absent; set LARPO_SHARED_DATA to their folder")
        return path

    return find


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of the embedded world with random weights; not to be written to."""
    directory = tmp_path_factory.mktemp("tiny") / "policy"
    make_policy(directory, vocabulary(), 0, hidden=32, layers=2, heads=2)
    return directory


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny policy, its data and `larpo.toml`; not to be written to."""
    root = tmp_path_factory.mktemp("tiny-world")
    make_tiny_world(root)
    return root


@pytest.fixture(scope="session")
def prepared_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world with one artifact of each kind that stands between the steps; not to be written to."""
    root = tmp_path_factory.mktemp("prepared-world")
    make_prepared_world(root)
    return root


@pytest.fixture
def here(prepared_world: Path, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a copy of the prepared world that a test may spoil, with an MLflow store of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    copy = tmp_path / "here"
    shutil.copytree(prepared_world, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def larpo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Larpo:
    """The command line, run in this process."""
    return command_line(monkeypatch, capsys)


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


@pytest.fixture
def mlflow_uri(mlflow_store: Path) -> str:
    """The address of the test's own store."""
    return f"sqlite:///{mlflow_store / 'mlflow.db'}"


@pytest.fixture(scope="session")
def notebook_run(tiny_world: Path, mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> NotebookRun:
    """A finished run of the tiny world, made as a notebook makes it; not to be written to."""
    return run_in_notebook(tiny_world, mlflow_database, tmp_path_factory.mktemp("notebook") / "run")


@pytest.fixture(scope="session")
def tiny_run(notebook_run: NotebookRun) -> RunResult:
    """The result of that run."""
    return notebook_run.result


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """A real S3 server, Ceph's. A test that kills it starts it again."""
    missing = missing_programs()
    if missing:
        pytest.skip(f"no {', '.join(missing)} on this machine; `make services` installs them")
    with radosgw() as running:
        yield running


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
    monkeypatch.setenv("LARPO_S3_PATIENCE", "0")
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    client.create_bucket(Bucket="larpo-bucket")
    yield client
    for item in client.list_objects_v2(Bucket="larpo-bucket").get("Contents", []):
        client.delete_object(Bucket="larpo-bucket", Key=item["Key"])
    client.delete_bucket(Bucket="larpo-bucket")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubDouble]:
    """A hub of the test's own, with caches of its own; `huggingface_hub` has read its variables already."""
    from huggingface_hub import constants

    with serve_hub() as double:
        monkeypatch.setattr(constants, "ENDPOINT", double.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{double.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "larpo-cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
        yield double
