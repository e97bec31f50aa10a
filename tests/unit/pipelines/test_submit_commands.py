"""The commands that compile pipelines and talk to Kubeflow: what they send, print and end with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from services.kfp_api import kfp_api
from services.kfp_state import KfpApi, Plan
from small_pipeline import write_small_pipeline
from tiny_world import Larpo

from larpo_kubeflow.pipelines import submit

FAST = ("--interval", "0.01")
GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
WHO = ["-c", "user.name=n", "-c", "user.email=e@example.com"]


def posted(server: KfpApi, path: str) -> list[Any]:
    return [asked for asked in server.asked if (asked.method, asked.path) == ("POST", f"/apis/v2beta1/{path}")]


def test_the_first_upload_creates_the_pipeline_and_further_ones_add_versions(
    larpo: Larpo, server: KfpApi, small_package: Path, tmp_path: Path
) -> None:
    first = larpo("pipeline", "upload", "--package", small_package, "--version", "v1")
    assert (first.code, first.out, first.err) == (0, "small: version v1 uploaded\n", "")
    other = write_small_pipeline(tmp_path / "other.yaml", times=3)
    second = larpo("pipeline", "upload", "--package", other, "--version", "v2")
    assert second.code == 0
    assert [row["name"] for row in server.pipelines.values()] == ["small"]
    assert [row["name"] for row in server.versions.values()] == ["v1", "v2"]
    assert len(posted(server, "pipelines")) == 1


def test_a_version_is_uploaded_once_and_never_changed(
    larpo: Larpo, server: KfpApi, small_package: Path, tmp_path: Path
) -> None:
    arguments = ("pipeline", "upload", "--version", "v1", "--name", "mine")
    larpo(*arguments, "--package", small_package)
    again = larpo(*arguments, "--package", small_package)
    assert (again.code, again.out) == (0, "mine: version v1 exists already, with the same content\n")
    other = larpo(*arguments, "--package", write_small_pipeline(tmp_path / "other.yaml", times=3))
    assert other.code == 2
    assert other.err == (
        "larpo: version 'v1' of pipeline 'mine' already exists with different content. "
        "Commit the change, or use another --version.\n"
    )
    assert len(server.versions) == 1


def test_a_version_is_named_by_the_commit(
    larpo: Larpo, server: KfpApi, small_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name, value in GIT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    none = larpo("pipeline", "upload", "--package", small_package)
    assert (none.code, server.asked) == (2, [])
    assert none.err == "larpo: cannot determine the version: no git commit here. Use --version NAME.\n"

    (tmp_path / "here" / "file").write_text("a", "utf-8")
    for command in (["init", "--quiet"], ["add", "file"], [*WHO, "commit", "--quiet", "-m", "first"], ["tag", "v9"]):
        subprocess.run(["git", *command], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert larpo("pipeline", "upload", "--package", small_package).out == f"small: version {commit} uploaded\n"
    (tmp_path / "here" / "file").write_text("b", "utf-8")
    assert larpo("pipeline", "upload", "--package", small_package).out == f"small: version {commit}-dirty uploaded\n"


def test_a_package_is_sent_along_with_typed_parameters(larpo: Larpo, server: KfpApi, small_package: Path) -> None:
    outcome = larpo(
        "submit", "--package", small_package, "--create-experiment", "--run-name", "first",
        "-p", "text=7", "-p", "times=3", "-p", "fast=true", "-p", 'labels={"a": 1}',
        "--pipeline-root", "s3://bucket/root", "--service-account", "larpo-pipeline",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    ((key, run),) = server.runs.items()
    assert outcome.out == f"run {key} started: {server.url}/#/runs/details/{key}\n"
    (asked,) = posted(server, "runs")
    assert asked.body["display_name"] == "first"
    assert asked.body["runtime_config"] == {
        "parameters": {"text": "7", "times": 3, "fast": True, "labels": {"a": 1}},
        "pipeline_root": "s3://bucket/root",
    }
    assert asked.body["service_account"] == "larpo-pipeline"
    assert asked.body["pipeline_spec"]["pipelineInfo"] == {"name": "small"}
    assert server.experiments[run["experiment_id"]]["display_name"] == "larpo"


def test_the_configuration_becomes_the_settings_parameter(
    larpo: Larpo, server: KfpApi, small_package: Path, tmp_path: Path
) -> None:
    (tmp_path / "larpo.toml").write_text('seed = 3\n[sample]\nk = 8\nsampler = { type = "vllm" }\n', "utf-8")
    common = ("submit", "--package", small_package, "--create-experiment", "-p", "text=a")
    outcome = larpo(*common, "--config", tmp_path / "larpo.toml", "--set", "sample.k=16", "--set", "name=x")
    assert outcome.code == 0, outcome.err
    (asked,) = posted(server, "runs")
    given = asked.body["runtime_config"]["parameters"]
    assert json.loads(given["settings"]) == {"seed": 3, "name": "x", "sample": {"k": 16, "sampler": {"type": "vllm"}}}
    wrong = larpo(*common, "--config", tmp_path / "larpo.toml", "--set", "sample.kk=16")
    assert wrong.code == 2
    assert wrong.err.startswith(f"larpo: {tmp_path / 'larpo.toml'}: unknown setting 'sample.kk'. Did you mean 'k'")
    assert larpo(*common, "--set", "seed=many").code == 2
    assert len(server.runs) == 1


@pytest.mark.parametrize(("version", "named"), [(None, "v2"), ("v1", "v1")])
def test_an_uploaded_version_is_run(
    version: str | None, named: str, larpo: Larpo, server: KfpApi, small_package: Path
) -> None:
    for name in ("v1", "v2"):
        larpo("pipeline", "upload", "--package", small_package, "--version", name)
    chosen = [] if version is None else ["--from-version", version]
    outcome = larpo("submit", "--pipeline", "small", *chosen, "--create-experiment", "-p", "text=a")
    assert outcome.code == 0, outcome.err
    (asked,) = posted(server, "runs")
    reference = asked.body["pipeline_version_reference"]
    assert server.versions[reference["pipeline_version_id"]]["name"] == named
    assert asked.body["display_name"].startswith(f"small {named} 20")
    assert "pipeline_spec" not in asked.body


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--pipeline", "smal", "-p", "text=a"], "has no pipeline 'smal'. Upload it with `larpo pipeline upload`"),
        (["--from-version", "v3", "-p", "text=a"], "pipeline 'small' has no version 'v3'. Upload it with"),
        (["-p", "texts=a"], "the pipeline has no parameter 'texts'. Did you mean 'text'?"),
        (["-p", "text=a", "-p", "times=b"], "the parameter 'times' must be a whole number, not 'b'. Use"),
        ([], "the pipeline's parameter 'text' has no default and no value. Pass --parameter text=..."),
        (["-p", "text=a", "--experiment", "x"], "has no experiment 'x'. Check --experiment and --namespace, or use"),
        (["-p", "text=a", "--config", "none.toml"], "none.toml: no such file. Pass an existing TOML file to --config."),
        (
            ["--package", "none.yaml", "--from-version", "v1"],
            "--package and --from-version cannot be used together. Pass one",
        ),
        (["--package", "none.yaml"], "none.yaml: cannot be read: No such file or directory. Create one with"),
    ],
)
def test_mistakes_are_told_in_one_line_and_nothing_is_started(
    arguments: list[str], problem: str, larpo: Larpo, server: KfpApi, small_package: Path
) -> None:
    larpo("pipeline", "upload", "--package", small_package, "--version", "v1")
    outcome = larpo("submit", "--pipeline", "small", *arguments)
    assert outcome.code == 2
    assert problem in outcome.err
    assert outcome.err.count("\n") == 1
    assert server.runs == {}
    assert server.experiments == {}


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_waiting_ends_as_the_run_does(state: str, code: int, larpo: Larpo, server: KfpApi, small_package: Path) -> None:
    tasks = [{"task_id": "1", "display_name": "train", "state": "FAILED", "error": {"message": "out of memory"}}]
    server.plan = Plan(["PENDING", "RUNNING", state], tasks if state == "FAILED" else [])
    common = ("--package", small_package, "--create-experiment", "-p", "text=a")
    outcome = larpo("submit", *common, "--wait", *FAST)
    (key,) = server.runs
    assert outcome.code == code
    shown = [line.partition(" s: ")[2] for line in outcome.out.splitlines()[1:]]
    assert shown[:3] == ["run PENDING", "run RUNNING", f"run {state}"]
    failure = f"larpo: run {key} {state}: {server.url}/#/runs/details/{key}\n"
    cause = "task 'train': out of memory\n" if state == "FAILED" else ""
    assert outcome.err == ("" if code == 0 else failure + cause)
    again = larpo("pipeline", "wait", key, *FAST)
    assert (again.code, again.err) == (code, outcome.err)


def test_waiting_for_some_time_only(larpo: Larpo, server: KfpApi, small_package: Path) -> None:
    server.plan = Plan(["RUNNING"])
    common = ("--package", small_package, "--create-experiment", "-p", "text=a")
    outcome = larpo("submit", *common, "--wait", "--timeout", "0.05", *FAST)
    (key,) = server.runs
    assert outcome.code == 3
    assert outcome.err == (
        f"larpo: run {key} is RUNNING after 0.05 s and continues. "
        f"Follow it with `larpo pipeline wait {key}`, end it with `larpo pipeline terminate {key}`.\n"
    )
    assert larpo("pipeline", "terminate", key).out == f"run {key} is being terminated\n"
    assert larpo("pipeline", "wait", key, *FAST).code == 1
    assert server.runs[key]["state"] == "CANCELED"
    late = larpo("pipeline", "terminate", key)
    assert (late.code, late.out) == (2, "")
    assert f"Run {key} has finished" in late.err


def _heed_interrupts() -> None:
    """Tests that were started in a shell's background have interrupts ignored, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_leaves_the_run_alone(server: KfpApi, small_package: Path) -> None:
    server.plan = Plan(["RUNNING"])
    command = [sys.executable, "-m", "larpo_lib", "submit", "--package", str(small_package), "-p", "text=a"]
    with subprocess.Popen(
        [*command, "--create-experiment", "--wait", *FAST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - nothing but a system call
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        while "RUNNING" not in waiting.stdout.readline():
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGINT)
        errors = waiting.stderr.read()
    (key,) = server.runs
    assert waiting.returncode == 130
    assert errors == f"larpo: run {key} is still running. {submit.how_to_go_on(key)}.\n"
    assert server.runs[key]["state"] == "RUNNING"


def test_the_token_and_the_namespace_reach_the_server(
    larpo: Larpo, small_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("submit", "--package", small_package, "--create-experiment", "-p", "text=a")
    with kfp_api(token="very-secret", multi_user=True) as server:
        monkeypatch.setenv("KFP_ENDPOINT", server.url)
        for name in ("KFP_TOKEN", "KFP_NAMESPACE", "KF_PIPELINES_SA_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        outcome = larpo(*common)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "answered 401" in outcome.err
        assert outcome.err.endswith("Set KFP_TOKEN to a token.\n")
        (tmp_path / "token").write_text("very-secret\n", "utf-8")
        outcome = larpo(*common, "--namespace", "team", "--token-file", tmp_path / "token")
        assert outcome.code == 0, outcome.err
        monkeypatch.setenv("KFP_TOKEN", "very-secret")
        outcome = larpo(*common, "--namespace", "other", "--wait")
        assert outcome.code == 2
        assert "answered 403" in outcome.err
        assert "the request was for namespace 'other'" in outcome.err
        assert "very-secret" not in outcome.out + outcome.err
        assert [row["namespace"] for row in server.experiments.values()] == ["team"]


def test_no_option_takes_a_token(larpo: Larpo) -> None:
    outcome = larpo("submit", "--token", "secret")
    assert outcome.code == 2
    assert "No such option: --token" in outcome.err


def test_without_kfp_the_package_to_install_is_named(larpo: Larpo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    outcome = larpo("pipeline", "wait", "7", "--endpoint", "http://127.0.0.1:1")
    assert outcome.code == 2
    assert outcome.err == "larpo: this command needs the package kfp. pip install 'larpo[kubeflow]'.\n"
