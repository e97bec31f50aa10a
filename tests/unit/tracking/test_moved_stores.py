"""A store is moved or copied with its run: what is in it is found there, and nothing is written to where it was."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from stored_artifacts import make_artifact

from larpo_lib.artifacts import digest
from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.errors import ArtifactError, TrackingError
from larpo_lib.registry import Registry
from larpo_lib.tracking import Tracker, relocation

NAME, EVALUATION = "policy-under-test", {"reranker": "r", "values": {}}


def register(store: Path, key: str, policy: Path, config: LarpoConfig) -> Registry:
    """Register a policy in a run of its own, as the champion."""
    tracker = Tracker(TrackingConfig(system_metrics=False), store)
    with tracker.run(key, key, config), tracker.step("promote", None) as step:
        registry = Registry(tracker.uri, step.run_id)
        version = registry.register(policy, model_name=NAME, evaluation=EVALUATION)
        registry.promote(NAME, version)
    return registry


def places(store: Path) -> list[str]:
    """Where MLflow has the files of all that is in a store."""
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("larpo")
    runs = client.search_runs([experiment.experiment_id])
    models = client.search_logged_models([experiment.experiment_id])
    versions = client.search_model_versions()
    assert runs
    assert models
    return [
        experiment.artifact_location,
        *(run.info.artifact_uri for run in runs),
        *(model.artifact_location for model in models),
        *(version.source for version in versions),
    ]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_store_is_used_where_it_is_now(how: Any, mlflow_store: Path, config: LarpoConfig, tmp_path: Path) -> None:
    first, second = make_artifact(tmp_path / "first"), make_artifact(tmp_path / "second", 2)
    register(mlflow_store, "before", first, config)
    place = tmp_path / "elsewhere" / "its store"
    place.parent.mkdir()
    how(mlflow_store, place)
    before = files(mlflow_store) if mlflow_store.exists() else None

    registry = Registry(f"sqlite:///{place / 'mlflow.db'}")
    assert digest(registry.download(f"models:/{NAME}@champion", tmp_path / "fetched")) == digest(first)
    assert registry.evaluation(NAME, 1) == EVALUATION
    registry = register(place, "after", second, config)
    assert digest(registry.download(f"models:/{NAME}@champion", tmp_path / "newer")) == digest(second)

    assert {found.startswith((place / "artifacts").as_uri()) for found in places(place)} == {True}
    client = MlflowClient(registry.uri)
    for run in client.search_runs([client.get_experiment_by_name("larpo").experiment_id], "params.policy != ''"):
        assert Path(client.download_artifacts(run.info.run_id, "config.json")).is_file()
    assert (files(mlflow_store) if mlflow_store.exists() else None) == before


def test_another_name_of_the_same_place_is_no_move(mlflow_store: Path, config: LarpoConfig, tmp_path: Path) -> None:
    register(mlflow_store, "before", make_artifact(tmp_path / "policy"), config)
    before = places(mlflow_store)
    (tmp_path / "link").symlink_to(mlflow_store)
    Registry(f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}").champion(NAME)
    assert places(mlflow_store) == before


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_version_that_has_lost_its_files_gets_them_back(
    damage: str, mlflow_store: Path, config: LarpoConfig, tmp_path: Path
) -> None:
    policy = make_artifact(tmp_path / "policy")
    registry = register(mlflow_store, "before", policy, config)
    (model,) = (mlflow_store / "artifacts" / "models").iterdir()
    if damage == "gone":
        shutil.rmtree(model)
        with pytest.raises(ArtifactError, match=r"files of this version are not there\. Put them back, or promote"):
            registry.download(f"models:/{NAME}@champion", tmp_path / "fetched")
    else:
        weights = next(path for path in model.rglob("*") if path.name == "weights.bin")
        weights.unlink()  # it is the policy's own file, too
        weights.write_text("other bytes")
    registry = register(mlflow_store, "after", policy, config)
    assert registry.champion(NAME) == 1
    assert digest(registry.download(f"models:/{NAME}@champion", tmp_path / "fetched")) == digest(policy)


def test_a_version_whose_files_were_elsewhere_and_are_gone_is_told(
    mlflow_store: Path, config: LarpoConfig, tmp_path: Path
) -> None:
    policy = make_artifact(tmp_path / "policy")
    registry = register(mlflow_store, "before", policy, config)
    client = MlflowClient(registry.uri)
    version = client.get_model_version(NAME, "1")
    client.delete_model_version(NAME, "1")
    client.create_model_version(NAME, str(tmp_path / "nowhere"), tags=version.tags)
    with pytest.raises(TrackingError, match="version 2 of model 'policy-under-test': its files are not at"):
        register(mlflow_store, "after", policy, config)


def test_a_copy_that_cannot_be_written_is_read_as_long_as_its_origin_is_there(
    mlflow_store: Path, config: LarpoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_artifact(tmp_path / "policy")
    register(mlflow_store, "before", policy, config)
    copy = tmp_path / "copy"
    shutil.copytree(mlflow_store, copy)

    def refused(*_: Any) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(relocation, "_change", refused)
    database = copy / "mlflow.db"
    relocation.follow_move(database)
    assert all(str(mlflow_store) in place for place in places(copy))
    shutil.rmtree(mlflow_store)
    with pytest.raises(TrackingError, match="it cannot be told so: attempt to write a readonly database"):
        relocation.follow_move(database)
