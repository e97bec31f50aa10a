"""The way with nothing but the `kfp` command: it runs for real, against the double of the API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from services.kfp_api import kfp_api
from services.kfp_state import KfpApi, Plan
from small_pipeline import write_small_pipeline

from larpo_kubeflow.pipelines import submit
from larpo_kubeflow.pipelines.api import PipelinesApi

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "pipelines" / "submit.sh"
BIN = Path(sys.executable).parent
TOKEN = "very-secret-token"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_pipeline(tmp_path_factory.mktemp("package") / "small.yaml", platform=True)


@pytest.fixture
def server() -> Iterator[KfpApi]:
    with kfp_api(token=TOKEN) as api:
        yield api


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KFP_")}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return kept | {
        "PATH": path, "HOME": str(home), "KFP_ENDPOINT": url, "KFP_TOKEN": TOKEN, "INTERVAL_S": "0", "PIPELINE": "small"
    } | more  # fmt: skip


def run_script(url: str, home: Path, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    more = environment(url, home, **more)
    return subprocess.run(command, env=more, capture_output=True, text=True, timeout=300, check=False)


def seed(server: KfpApi, package: Path) -> None:
    """Upload the package as version v1, as larpo does it: the script has to find it the same."""
    with PipelinesApi(server.url, token=lambda: TOKEN) as api:
        submit.upload(api, package, name=None, version="v1")


def test_a_new_pipeline_is_created_its_version_run_and_waited_for(
    server: KfpApi, package: Path, tmp_path: Path
) -> None:
    server.plan = Plan(["RUNNING", "SUCCEEDED"])
    given = ("text=7", "times=3", "rate=2", "fast=true", 'tags=["a"]', 'settings={"seed": 1}')
    done = run_script(server.url, tmp_path, package, "0123abc", *given)
    assert done.returncode == 0, done.stderr
    assert [row["display_name"] for row in server.pipelines.values()] == ["small"]
    version = next(row for row in server.versions.values() if row["display_name"] == "0123abc")
    assert set(version["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}
    ((key, run),) = server.runs.items()
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert run["display_name"] == "small 0123abc"
    assert run["runtime_config"]["parameters"] == {
        "text": "7", "times": 3, "rate": 2, "fast": True, "tags": ["a"], "settings": '{"seed": 1}'
    }  # fmt: skip
    first, *states = done.stdout.splitlines()
    assert first == f"run {key} started: {server.url}/#/runs/details/{key}"
    assert [line.partition(" s: ")[2] for line in states] == ["run RUNNING", "run SUCCEEDED"]
    assert TOKEN not in done.stdout + done.stderr


def test_an_existing_pipeline_gets_a_version_and_a_version_is_never_changed(
    server: KfpApi, package: Path, tmp_path: Path
) -> None:
    seed(server, package)
    server.plan = Plan(["SUCCEEDED"])
    same = run_script(server.url, tmp_path, package, "v1", "text=a")
    assert same.returncode == 0
    assert "version v1 is there already, with the same content" in same.stderr
    other = write_small_pipeline(tmp_path / "other.yaml", times=3)
    assert run_script(server.url, tmp_path, other, "v2", "text=a").returncode == 0
    changed = run_script(server.url, tmp_path, package, "v2", "text=a")
    assert changed.returncode == 2
    assert "version v2 of pipeline small exists with other content" in changed.stderr
    assert len(server.pipelines) == 1
    assert [row["display_name"] for row in server.versions.values()] == ["v1", "v2"]
    assert len(server.runs) == 2
    assert [row["display_name"] for row in server.experiments.values()] == ["larpo"]


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_did_not_succeed_ends_in_an_error(state: str, server: KfpApi, package: Path, tmp_path: Path) -> None:
    tasks = [{"task_id": "1", "display_name": "train", "state": state, "error": {"message": "out of memory"}}]
    seed(server, package)
    server.plan = Plan(["RUNNING", state], tasks)
    done = run_script(server.url, tmp_path, package, "v1", "text=a")
    (key,) = server.runs
    assert done.returncode == 1
    assert f"submit.sh: run {key} {state}: {server.url}/#/runs/details/{key}\n" in done.stderr
    assert ("task train: out of memory" in done.stderr) is (state == "FAILED")


def test_kfps_own_watch_does_not_tell(server: KfpApi, package: Path, tmp_path: Path) -> None:
    """Why the script looks at the state itself. When this fails, `kfp run create --watch` will do."""
    server.plan = Plan(["RUNNING", "FAILED"])
    command = ["kfp", "run", "create", "--watch", "--experiment-name", "e", "--package-file", str(package), "text=a"]
    kfp = environment(server.url, tmp_path, KFP_EXISTING_TOKEN=TOKEN)
    done = subprocess.run(command, env=kfp, capture_output=True, text=True, timeout=300, check=False)
    assert "Run is finished with state FAILED." in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "more", "problem"),
    [
        (["texts=a"], {}, "the pipeline has no parameter 'texts'; it has: fast, labels, rate, settings, tags, text"),
        (["text"], {}, "'text' is not of the form name=value"),
        ([], {}, "parameter text is not optional, yet has neither default value nor user provided value"),
        (["text=a"], {"KFP_TOKEN": "wrong"}, "no user identity header"),
        (["text=a"], {"KFP_ENDPOINT": ""}, "set KFP_ENDPOINT"),
    ],
)
def test_what_cannot_be_started(
    arguments: list[str], more: dict[str, str], problem: str, server: KfpApi, package: Path, tmp_path: Path
) -> None:
    seed(server, package)
    done = run_script(server.url, tmp_path, package, "v1", *arguments, **more)
    assert done.returncode == 2
    assert problem in done.stderr
    assert server.runs == {}


@pytest.mark.parametrize(("most", "code"), [("3", 0), ("2", 2)])
def test_a_server_that_is_away_is_waited_for(
    most: str, code: int, server: KfpApi, package: Path, tmp_path: Path
) -> None:
    seed(server, package)
    server.plan = Plan(["RUNNING", "SUCCEEDED"])
    server.fail("GET .*/runs/", 503, "no upstream", times=2, after=1)
    done = run_script(server.url, tmp_path, package, "v1", "text=a", MOST_MISSED=most)
    assert done.returncode == code
    assert "no upstream" in done.stderr
    assert "the run cannot be asked about (2 in a row)" in done.stderr


def test_a_wait_has_an_end(server: KfpApi, package: Path, tmp_path: Path) -> None:
    seed(server, package)
    server.plan = Plan(["RUNNING"])
    done = run_script(server.url, tmp_path, package, "v1", "text=a", TIMEOUT_S="1", INTERVAL_S="1")
    assert done.returncode == 3
    (key,) = server.runs
    assert f"run {key} is RUNNING after" in done.stderr
    assert server.runs[key]["state"] == "RUNNING"


def test_an_interrupt_leaves_the_run_alone(server: KfpApi, package: Path, tmp_path: Path) -> None:
    seed(server, package)
    server.plan = Plan(["RUNNING"])
    more = environment(server.url, tmp_path, INTERVAL_S="60")
    command = [str(SCRIPT), str(package), "v1", "text=a"]
    with subprocess.Popen(command, env=more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        while "RUNNING" not in waiting.stdout.readline():
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGTERM)
        errors = waiting.stderr.read()
    (key,) = server.runs
    assert waiting.returncode == 130
    assert f"submit.sh: run {key} goes on: " in errors


def test_the_double_serves_as_a_program(package: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests" / "services" / "kfp_api.py"), "--log", str(tmp_path / "log")]
    plan = ["--plan", json.dumps({"states": ["RUNNING", "FAILED"]})]
    more = os.environ | {"KFP_DOUBLE_TOKEN": TOKEN}
    with subprocess.Popen([*command, *plan], env=more, stdout=subprocess.PIPE, text=True) as double:
        assert double.stdout is not None
        try:
            done = run_script(double.stdout.readline().strip(), tmp_path, package, "v1", "text=a")
        finally:
            double.terminate()
    assert done.returncode == 1
    asked = [json.loads(line) for line in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert [one["path"].rpartition("/")[2] for one in asked if one["method"] == "POST"] == [
        "upload", "upload_version", "experiments", "runs"
    ]  # fmt: skip
    assert TOKEN not in (tmp_path / "log").read_text("utf-8")
