"""`larpo champion`, with a store that has a champion and one that has none."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from stored_artifacts import make_artifact
from tiny_world import Larpo

from larpo_lib.artifacts import digest, verify
from larpo_lib.config import TrackingConfig
from larpo_lib.registry import Registry, VersionFacts
from larpo_lib.registry.fetching import Source
from larpo_lib.tracking import Tracker

NAME = "served"


@pytest.fixture
def store(mlflow_store: Path, tmp_path: Path) -> Path:
    """With two versions, of which the first one is the champion."""
    tracker = Tracker(TrackingConfig(), mlflow_store)
    with tracker.run("demo", "key", TrackingConfig()), tracker.step("promote", None) as run:
        registry = Registry(tracker.uri, run.run_id)
        for value in (1, 2):
            policy = make_artifact(tmp_path / f"policy-{value}", value)
            registry.register(policy, model_name=NAME, evaluation={}, facts=VersionFacts(card=f"# {value}\n"))
        registry.promote(NAME, 1)
    return mlflow_store


def test_the_champion_is_fetched_and_checked(larpo: Larpo, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "champion"
    for _ in range(2):  # the second time it is there already
        outcome = larpo("champion", "fetch", NAME, "--store", store, "--out", out)
        assert outcome.code == 0, outcome.err
        found = json.loads(outcome.out)
        assert found == {
            "model": NAME, "version": 1, "directory": str(out), "digest": digest(tmp_path / "policy-1"),
        }  # fmt: skip
    verify(out)
    assert (out / "README.md").read_text() == "# 1\n"
    other = larpo("champion", "fetch", NAME, "--version", 2, "--store", store, "--out", tmp_path / "other")
    assert json.loads(other.out)["digest"] == digest(tmp_path / "policy-2")
    occupied = larpo("champion", "fetch", NAME, "--version", 2, "--store", store, "--out", out)
    assert (occupied.code, "exists and is not models:/served/2" in occupied.err) == (2, True)


@pytest.mark.parametrize("command", [["fetch", "--out", "champion"], ["serve-manifest"]])
def test_what_is_missing_is_told(larpo: Larpo, store: Path, command: list[str], tmp_path: Path) -> None:
    name, *options = command
    nobody = larpo("champion", name, "nobody", *options, "--store", store)
    assert (nobody.code, "model 'nobody' has no alias 'champion'" in nobody.err) == (2, True)
    never = larpo("champion", name, NAME, *options, "--version", 7, "--store", store)
    assert (never.code, "model 'served' has no version 7. Its versions are 1, 2" in never.err) == (2, True)
    stranger = larpo("champion", name, "nobody", *options, "--version", 1, "--store", store)
    assert (stranger.code, "there is no model 'nobody' with a version" in stranger.err) == (2, True)
    nowhere = larpo("champion", name, NAME, *options, "--store", tmp_path / "nowhere")
    assert (nowhere.code, "there is no MLflow store here. Set --store" in nowhere.err) == (2, True)
    assert not (tmp_path / "nowhere").exists()


def test_a_version_of_somebody_else_is_not_fetched(larpo: Larpo, store: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    client.create_model_version(NAME, source=str(tmp_path / "policy-1"))
    outcome = larpo("champion", "fetch", NAME, "--version", 3, "--store", store, "--out", tmp_path / "out")
    assert (outcome.code, "was not registered by larpo" in outcome.err) == (2, True)


def test_pods_cannot_read_a_store_on_a_disk(larpo: Larpo, store: Path) -> None:
    outcome = larpo("champion", "serve-manifest", NAME, "--store", store)
    assert (outcome.code, "Set MLFLOW_TRACKING_URI to the MLflow server" in outcome.err) == (2, True)


@pytest.mark.parametrize(("kserve", "folder"), [(False, ""), (True, ""), (True, "model")])
def test_the_manifest_is_printed(larpo: Larpo, monkeypatch: pytest.MonkeyPatch, kserve: bool, folder: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    asked = []

    def source(_self: Any, uri: str) -> Source:
        asked.append(uri)
        return Source(uri, 7, "s3://bucket/artifacts/", folder, "d" * 64)

    monkeypatch.setattr(Registry, "source", source)
    options = ["--kserve"] if kserve else ["--image-prefix", "registry.example.com/team/", "--image-tag", "1.0"]
    options += ["--service-account", "reader"]
    outcome = larpo("champion", "serve-manifest", NAME, *options)
    assert outcome.code == 0, outcome.err
    assert asked == [f"models:/{NAME}@champion"]
    documents = [*yaml.safe_load_all(outcome.out)]
    assert [document["kind"] for document in documents] == (
        ["InferenceService"] if kserve else ["Deployment", "Service"]
    )
    spec = documents[0]["spec"]
    assert (spec["predictor"] if kserve else spec["template"]["spec"])["serviceAccountName"] == "reader"
    if kserve:
        place = f"s3://bucket/artifacts/{folder}".rstrip("/")
        assert spec["predictor"]["model"]["storageUri"] == place
    else:
        (fetch,) = documents[0]["spec"]["template"]["spec"]["initContainers"]
        assert fetch["image"] == "registry.example.com/team/larpo-base:1.0"
        assert fetch["command"][4:6] == ["--version", "7"]
