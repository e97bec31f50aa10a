"""A whole run whose directory is in a store: stopped on one machine, gone on with on another."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_world import Larpo, files

import larpo_lib
from larpo_lib.loop import run_loop
from larpo_lib.storage import upload

OUT = "s3://larpo-bucket/runs/tiny"


class StoppedError(Exception):
    """The machine goes away."""


def stored(s3: Any) -> dict[str, bytes]:
    """Every object of the run."""
    prefix = OUT.removeprefix("s3://larpo-bucket/") + "/"
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="larpo-bucket", Prefix=prefix)["Contents"]]
    read = {key: s3.get_object(Bucket="larpo-bucket", Key=key)["Body"].read() for key in keys}
    return {key.removeprefix(prefix): body for key, body in read.items()}


def content(found: dict[str, bytes]) -> dict[str, bytes]:
    """The artifacts by what their manifests list; MLflow puts its own beside, and tells the gate its version."""
    folders = [name.removesuffix("artifact.json") for name in found if name.endswith("/artifact.json")]
    made = {
        f"{folder}{name}"
        for folder in folders
        if not folder.startswith(("promotion/", "report/", "mlflow/"))
        for name in ("artifact.json", *json.loads(found[f"{folder}artifact.json"])["files"])
    }
    return {name: found[name] for name in made}


def test_a_run_in_a_store_goes_on_elsewhere_and_ends_with_the_same_bytes(
    tiny_world: Path, s3: Any, mlflow_store: Path, mlflow_uri: str, larpo: Larpo, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    upload(tiny_world / "policy", "s3://larpo-bucket/models/policy", last="config.json")
    config = larpo_lib.load_config(tiny_world / "larpo.toml")
    shutil.copytree(mlflow_store, tmp_path / "local" / "mlflow")
    run_loop(config, tmp_path / "local")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    in_store = ["--config", tiny_world / "larpo.toml", "--out", OUT, "--set", "policy=s3://larpo-bucket/models/policy"]
    with monkeypatch.context() as first:
        first.setenv("LARPO_CACHE", str(tmp_path / "machine-1"))
        first.setattr("larpo_lib.loop.execute_step", _until("train"))
        with pytest.raises(StoppedError):
            larpo("run", *in_store)
    begun = stored(s3)
    assert "iteration-1/lists/artifact.json" in begun
    assert "iteration-1/policy/artifact.json" not in begun

    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "machine-2"))
    monkeypatch.setattr("larpo_lib.steps.sample._sample", _made_again)  # made already
    ended = larpo("run", *in_store)
    assert ended.code == 0, ended.err
    assert "in 2 calls" in ended.out
    assert f"Report: {OUT}/report/report.html" in ended.out
    there = stored(s3)
    assert content(there) == content(files(tmp_path / "local"))
    assert len(content(there)) > 40
    assert there["run.json"] == begun["run.json"]
    assert {"config.toml", "summary.json", "report/report.html", "promotion/promotion.json"} < there.keys()

    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "machine-3"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    s3.delete_object(Bucket="larpo-bucket", Key="models/policy/config.json")
    for _ in range(2):  # a finished run needs nothing but its directory
        again = larpo("run", *in_store)
        assert (again.code, again.out) == (0, ended.out), again.err
        s3.delete_object(Bucket="larpo-bucket", Key="runs/tiny/summary.json")  # as if killed before it was there
    larpo("run", *in_store)
    assert stored(s3)["summary.json"] == there["summary.json"]
    found = larpo_lib.read_run(OUT)
    assert found.iterations == 1
    assert found.report.read_text("utf-8").startswith("<!doctype html>")
    assert (found.policies[1] / "model.safetensors").is_file()
    assert found.promotion.version == json.loads(there["promotion/promotion.json"])["version"]


def _until(name: str) -> Any:
    from larpo_lib.execution import execute_step

    def execute(call: Any, paths: Any, run: Any) -> Any:
        if call.name == name:
            raise StoppedError
        return execute_step(call, paths, run)

    return execute


def test_a_run_in_a_store_needs_a_place_for_mlflow(
    tiny_world: Path, s3: Any, larpo: Larpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    refused = larpo("run", "--config", tiny_world / "larpo.toml", "--out", OUT)
    assert refused.code == 2
    assert (
        "MLflow's own database cannot be in a store. Set tracking.uri or MLFLOW_TRACKING_URI, or pass --work"
        in refused.err
    )
    local = larpo("run", "--config", tiny_world / "larpo.toml", "--out", tmp_path / "out", "--work", tmp_path / "work")
    assert "Leave out the work folder" in local.err
    assert "Contents" not in s3.list_objects_v2(Bucket="larpo-bucket")


def _made_again(*_: object) -> None:
    raise AssertionError("candidates are in the store")
