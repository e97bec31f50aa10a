"""Versions and aliases are read back with MLflow's own client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from larpo_lib.artifacts import MANIFEST, digest, produce, verify
from larpo_lib.config import Section, TrackingConfig
from larpo_lib.errors import ArtifactError, StorageError, TrackingError
from larpo_lib.registry import Registry, VersionFacts
from larpo_lib.storage import publish
from larpo_lib.tracking import Tracker

NAME = "policy-under-test"
EVALUATION = {"reranker": "r", "values": {"reward": {"p1": 0.5}}}


@pytest.fixture
def registry(mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    bare = Tracker(TrackingConfig(), mlflow_store)
    client = MlflowClient(bare.uri)
    run = client.create_run(client.get_experiment_by_name("larpo").experiment_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    tracker = Tracker(TrackingConfig(), mlflow_store)
    with tracker.step("promote", None) as step:
        yield Registry(tracker.uri, step.run_id)


@pytest.fixture
def client(registry: Registry, mlflow_store: Path) -> Any:
    return MlflowClient(f"sqlite:///{mlflow_store / 'mlflow.db'}")


def policy(folder: Path, weights: str, card: str = "") -> Path:
    """A policy as the step `train` publishes it."""

    def make(work: Any) -> dict[str, Any]:
        if card:
            (work.data / "README.md").write_text(card)
        (work.data / "config.json").write_text("{}")
        (work.data / "nested").mkdir()
        (work.data / "nested" / "model.safetensors").write_text(weights)
        return {}

    produce("train", Section(), {}, folder, make, arguments={"weights": weights})
    return folder


def test_a_policy_is_registered_once_and_comes_back_the_same(registry: Registry, client: Any, tmp_path: Path) -> None:
    source = policy(tmp_path / "policy", "w1")
    version = registry.register(source, model_name=NAME, evaluation=EVALUATION)
    assert registry.register(source, model_name=NAME, evaluation=EVALUATION) == version == 1
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1

    registry.set_alias(NAME, "champion", version)
    target = registry.download(f"models:/{NAME}@champion", tmp_path / "copy")
    verify(target)
    assert digest(target) == digest(source)
    assert sorted(p.relative_to(target) for p in target.rglob("*")) == sorted(
        p.relative_to(source) for p in source.rglob("*")
    )
    assert registry.download(f"models:/{NAME}/1", tmp_path / "copy") == target  # it is there already
    assert not list(tmp_path.glob(".copy*"))


def test_a_plain_model_directory_comes_back_the_same(registry: Registry, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text("{}")
    registry.register(plain, model_name=NAME, evaluation=EVALUATION)
    assert digest(registry.download(f"models:/{NAME}/1", tmp_path / "copy")) == digest(plain)
    from mlflow.artifacts import list_artifacts

    source = registry.source(f"models:/{NAME}/1")
    listed = list_artifacts(source.policy_location, tracking_uri=registry.uri)  # as KServe reads it: the folder's own
    assert [Path(file.path).name for file in listed] == ["config.json"]


def test_a_card_is_replaced_wherever_its_version_is(registry: Registry, client: Any, tmp_path: Path, s3: Any) -> None:
    """Of a policy that stays in its store, too, although it is promoted again from a copy on a disk."""
    place = "s3://larpo-bucket/run/policy"
    source, own = policy(tmp_path / "policy", "w1"), policy(tmp_path / "own", "w2", card="# its own")
    plain = policy(tmp_path / "plain", "w3")
    (plain / MANIFEST).unlink()
    publish(source, place)
    for number, (folder, name, at) in enumerate(
        [(source, "remote", place), (own, "own", None), (plain, "plain", None)]
    ):
        before = digest(folder)
        for card, where in (("# first", at), ("# second", None)):
            facts = VersionFacts(card=card, tags={"kind": card})
            assert registry.register(folder, model_name=name, evaluation=EVALUATION, place=where, facts=facts) == 1
        version = client.get_model_version(name, "1")
        assert version.tags["kind"] == "# second"
        fetched = registry.download(f"models:/{name}/1", tmp_path / f"fetched-{number}")
        assert digest(fetched) == before
        cards = [file.read_text() for file in fetched.rglob("README.md")]
        assert cards == {"remote": ["# second"], "own": ["# its own"], "plain": []}[name]
        shown = client.list_logged_model_artifacts(version.tags["larpo.model_id"])
        assert "README.md" in {file.path for file in shown}
    body = s3.get_object(Bucket="larpo-bucket", Key="run/policy/README.md")["Body"].read()
    assert body == b"# second"


def test_a_version_belongs_to_the_run_and_to_one_ready_logged_model(
    registry: Registry, client: Any, tmp_path: Path
) -> None:
    registry.register(policy(tmp_path / "policy", "w1"), model_name=NAME, evaluation=EVALUATION)
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    run = client.get_run(version.run_id)
    assert run.data.tags["larpo.step"] == "promote"
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (model.source_run_id, model.status.value) == (version.run_id, "READY")
    assert version.source == model.artifact_location


def test_the_evaluation_is_kept_with_the_version_and_the_latest_counts(
    registry: Registry, client: Any, tmp_path: Path
) -> None:
    source = policy(tmp_path / "policy", "w1")
    registry.register(source, model_name=NAME, evaluation=EVALUATION)
    assert registry.evaluation(NAME, 1) == EVALUATION
    later = {"reranker": "r", "values": {"reward": {"p2": 0.25}}}
    registry.register(source, model_name=NAME, evaluation=later)
    assert registry.evaluation(NAME, 1) == later
    client.create_model_version(NAME, source="s3://elsewhere/model")
    assert registry.evaluation(NAME, 2) is None


def test_there_is_no_champion_before_the_first_promotion(registry: Registry, tmp_path: Path) -> None:
    assert registry.champion(NAME) is None
    registry.register(policy(tmp_path / "policy", "w1"), model_name=NAME, evaluation=EVALUATION)
    assert registry.champion(NAME) is None
    with pytest.raises(TrackingError, match="has no champion"):
        registry.rollback(NAME)


def test_rollback_goes_back_one_promotion_at_a_time(registry: Registry, tmp_path: Path) -> None:
    for version in (1, 2, 3):
        source = policy(tmp_path / str(version), f"w{version}")
        assert registry.register(source, model_name=NAME, evaluation=EVALUATION) == version
        registry.promote(NAME, version)
        registry.promote(NAME, version)  # as after a crash: it must not replace itself
    assert registry.rollback(NAME) == (3, 2)
    assert registry.champion(NAME) == 2
    assert registry.rollback(NAME) == (2, 1)
    with pytest.raises(TrackingError, match=r"version 1 .* did not replace another"):
        registry.rollback(NAME)
    assert registry.champion(NAME) == 1


@pytest.mark.parametrize(
    "uri", ["models:/other@champion", f"models:/{NAME}/9", f"models:/{NAME}@challenger", "runs:/a/b"]
)
def test_a_version_that_is_not_there_is_told(registry: Registry, tmp_path: Path, uri: str) -> None:
    registry.register(policy(tmp_path / "policy", "w1"), model_name=NAME, evaluation=EVALUATION)
    with pytest.raises(TrackingError):
        registry.download(uri, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_download_does_not_overwrite_something_else(registry: Registry, tmp_path: Path) -> None:
    registry.register(policy(tmp_path / "policy", "w1"), model_name=NAME, evaluation=EVALUATION)
    other = policy(tmp_path / "other", "w2")
    with pytest.raises(StorageError, match="exists"):
        registry.download(f"models:/{NAME}/1", other)
    assert (other / "nested" / "model.safetensors").read_text() == "w2"


def test_a_damaged_upload_is_found_out(registry: Registry, client: Any, tmp_path: Path) -> None:
    from mlflow.utils.file_utils import local_file_uri_to_path

    registry.register(policy(tmp_path / "policy", "w1"), model_name=NAME, evaluation=EVALUATION)
    uploaded = Path(local_file_uri_to_path(client.get_model_version_download_uri(NAME, "1")))
    (uploaded / "nested" / "model.safetensors").write_text("cut sho")
    with pytest.raises(ArtifactError, match="checksum"):
        registry.download(f"models:/{NAME}/1", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_registering_needs_a_run(mlflow_store: Path, registry: Registry, tmp_path: Path) -> None:
    runless = Registry(f"sqlite:///{mlflow_store / 'mlflow.db'}")
    with pytest.raises(TrackingError, match="MLFLOW_RUN_ID"):
        runless.register(policy(tmp_path / "policy", "w1"), model_name=NAME, evaluation=EVALUATION)
    assert runless.champion(NAME) is None
