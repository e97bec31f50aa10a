"""Storage against a real S3 server with real authentication, Ceph's; it is killed while it is in use."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_store import killed_at
from services.radosgw import Gateway
from stored_artifacts import BUCKET, content, keys, make_artifact

from larpo_lib import artifacts, storage
from larpo_lib.artifacts import WorkDir
from larpo_lib.errors import StorageError
from larpo_lib.storage import transfer
from larpo_lib.training.checkpoint_places import delete_checkpoints, own_place
from larpo_lib.training.checkpoints import CheckpointStore

LARGE = 96 * 2**20


def test_artifact_with_large_file_goes_in_parts_and_comes_back_the_same(store: Any, tmp_path: Path) -> None:
    artifact, uri = make_artifact(tmp_path / "a", large=40 * 2**20), f"s3://{BUCKET}/runs/a"
    storage.publish(artifact, uri)
    assert keys(store) == {f"runs/a/{name}" for name in content(artifact)}
    assert store.head_object(Bucket=BUCKET, Key="runs/a/large.bin")["ETag"].endswith('-3"')
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


@pytest.mark.parametrize("different", [False, True])
def test_of_sixteen_publishers_at_once_one_wins(
    store: Any, tmp_path: Path, different: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_PART_BYTES", 5 * 2**20)
    made = [make_artifact(tmp_path / str(i), value=1 + i * different, large=6 * 2**20) for i in range(16)]
    start, uri = threading.Barrier(16), f"s3://{BUCKET}/contested"

    def publish(artifact: Path) -> StorageError | None:
        start.wait()
        try:
            storage.publish(artifact, uri)
        except StorageError as error:
            return error
        return None

    with ThreadPoolExecutor(16) as pool:
        errors = list(pool.map(publish, made))
    winners = [artifact for artifact, error in zip(made, errors, strict=True) if error is None]
    assert len(winners) == (1 if different else 16)
    assert {str(error) for error in errors if error} <= {
        f"{uri}: contains another artifact. Choose another URI, or delete that one."
    }
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(winners[0])
    assert keys(store) == {f"contested/{name}" for name in content(winners[0])}
    for name in content(winners[0]):  # also for those who read a file without asking larpo
        stored = store.get_object(Bucket=BUCKET, Key=f"contested/{name}")["Body"].read()
        assert stored == (winners[0] / name).read_bytes()


def test_wrong_key_is_refused_without_showing_it(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_object(Bucket=BUCKET, Key="prompts.jsonl", Body=b"{}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-right-secret")
    with pytest.raises(StorageError, match=r"access denied|rejects these credentials") as read:
        storage.fetch(f"s3://{BUCKET}/prompts.jsonl", tmp_path / "cache")
    with pytest.raises(StorageError, match=r"the store rejects these credentials\. Check AWS_SECRET") as written:
        storage.publish(make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StorageError, match=r"does not know these credentials\. Check AWS_ACCESS_KEY_ID") as unknown:
        storage.publish(tmp_path / "a", f"s3://{BUCKET}/a")
    assert "not-the-right-secret" not in f"{read.value}{written.value}{unknown.value}"
    assert keys(store) == {"prompts.jsonl"}


def test_server_killed_while_an_artifact_is_published(
    store: Any, gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifact, uri = make_artifact(tmp_path / "a", large=LARGE), f"s3://{BUCKET}/a"
    with killed_at(gateway, "UploadPart", 4, away_s=6):
        storage.publish(artifact, uri)
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)
    assert "cannot be reached, or closed the connection; retrying for up to" in caplog.text
    assert gateway.secret_key not in caplog.text


def test_server_killed_while_an_artifact_is_fetched(
    store: Any, gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifact, uri = make_artifact(tmp_path / "a", large=LARGE), f"s3://{BUCKET}/a"
    storage.publish(artifact, uri)
    with killed_at(gateway, "GetObject", 6, away_s=6):
        fetched = storage.fetch(uri, tmp_path / "cache")
    assert content(fetched) == content(artifact)
    assert [path.name for path in fetched.parent.iterdir() if path.name.startswith(".a")] == []
    assert "cannot be reached, or closed the connection; retrying for up to" in caplog.text


def test_server_that_is_away_is_given_up_and_the_work_is_kept(
    store: Any, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARPO_S3_PATIENCE", "1")
    artifact, uri = make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a"
    gateway.kill()
    with pytest.raises(StorageError, match=f"127.0.0.1:{gateway.port} cannot be reached"):
        storage.publish(artifact, uri)
    gateway.restart()
    storage.publish(artifact, uri)
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


def test_own_certificate_is_trusted_by_name_only(
    store: Any, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, uri = make_artifact(tmp_path / "a", large=17 * 2**20), f"s3://{BUCKET}/a"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gateway.tls_endpoint)
    with pytest.raises(StorageError, match=r"certificate of .* is not trusted\. Set AWS_CA_BUNDLE"):
        storage.publish(artifact, uri)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(gateway.certificate))
    storage.publish(artifact, uri)
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


def test_checkpoints_survive_the_machine_and_the_server(store: Any, gateway: Gateway, tmp_path: Path) -> None:
    uri = f"s3://{BUCKET}/checkpoints/"
    weights = {step: torch.full((6_000_000,), float(step)) for step in (1, 2)}

    def checkpoints(machine: str) -> CheckpointStore:
        (tmp_path / machine).mkdir(exist_ok=True)
        return CheckpointStore(WorkDir(tmp_path / machine, tmp_path / machine, "fingerprint-of-this-training"), uri)

    for step in (1, 2):
        with killed_at(gateway, "UploadPart", 2, away_s=1):
            checkpoints("first").save(step, [("weights", weights[step])], [{"loss": 1.0 / step}], {"last_epoch": step})
    gateway.kill()
    gateway.restart()
    found = checkpoints("second").latest()
    assert found is not None
    assert (found.step, found.history, found.scheduler) == (2, [{"loss": 0.5}], {"last_epoch": 2})
    assert torch.equal(found.read("weights"), weights[2])
    assert {key.split("/")[2] for key in keys(store)} == {"step-000000001", "step-000000002"}
    delete_checkpoints(own_place(uri, "fingerprint-of-this-training", None))
    assert keys(store) == set()


def test_damage_is_noticed_in_what_is_no_artifact(store: Any, tmp_path: Path) -> None:
    folder, uri = tmp_path / "model", f"s3://{BUCKET}/model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(20 * 2**20))
    (folder / "config.json").write_text("{}")
    storage.upload(folder, uri, last="config.json")
    stored = store.head_object(Bucket=BUCKET, Key="model/weights.bin")
    damaged = bytes(20 * 2**20 - 1) + b"\1"
    store.put_object(Bucket=BUCKET, Key="model/weights.bin", Body=damaged, Metadata=stored["Metadata"])
    with pytest.raises(StorageError, match=r"model/weights\.bin: is damaged"):
        storage.fetch(uri, tmp_path / "cache")
    store.upload_file(
        str(folder / "weights.bin"), BUCKET, "model/weights.bin", ExtraArgs={"Metadata": stored["Metadata"]}
    )
    assert artifacts.digest(storage.fetch(uri, tmp_path / "cache")) == artifacts.digest(folder)
