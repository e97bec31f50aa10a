"""Against moto's S3 server over HTTP; what is stored is read and written by a boto3 client of the test's own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from stored_artifacts import BUCKET, content, keys, make_artifact

from larpo_lib import storage
from larpo_lib.artifacts import Metrics, WorkDir, digest, produce, verify
from larpo_lib.config import Section
from larpo_lib.errors import ArtifactError, StorageError
from larpo_lib.storage import fetching
from larpo_lib.storage.locations import Location


def test_artifact_survives_the_round_trip(s3: Any, tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    storage.publish(artifact, f"s3://{BUCKET}/runs/a/")
    assert keys(s3) == {f"runs/a/{name}" for name in content(artifact)}
    fetched = storage.fetch(f"s3://{BUCKET}/runs/a", tmp_path / "cache")
    assert fetched.name == "a"
    assert content(fetched) == content(artifact)


def test_damaged_artifact_is_refused_and_fetched_once_it_is_mended(s3: Any, tmp_path: Path) -> None:
    artifact, uri = make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a"
    storage.publish(artifact, uri)
    s3.put_object(Bucket=BUCKET, Key="a/table.txt", Body=b"value 7")
    with pytest.raises(StorageError, match=r"s3://larpo-bucket/a/table\.txt: is damaged"):
        storage.fetch(uri, tmp_path / "cache")
    s3.put_object(Bucket=BUCKET, Key="a/table.txt", Body=b"value 1")
    s3.put_object(Bucket=BUCKET, Key="a/stray", Body=b"left by another upload")
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


def test_of_small_files_alone_those_are_verified(s3: Any, tmp_path: Path) -> None:
    def make(work: WorkDir) -> Metrics:
        (work.data / "model.safetensors").write_bytes(b"weights")
        (work.data / "config.json").write_bytes(b"{}")
        return {}

    produce("train", Section(), {}, tmp_path / "policy", make)
    storage.publish(tmp_path / "policy", f"s3://{BUCKET}/policy")
    fetched = storage.fetch(f"s3://{BUCKET}/policy", tmp_path / "cache", weights=False)
    assert not (fetched / "model.safetensors").exists()
    verify(fetched)
    assert digest(fetched) == digest(tmp_path / "policy")
    (fetched / "config.json").write_bytes(b"[]")
    with pytest.raises(ArtifactError, match=r"config\.json: is missing or differs"):
        verify(fetched)


def test_file_is_cached_until_it_changes(s3: Any, tmp_path: Path) -> None:
    uri = f"s3://{BUCKET}/data/rows.jsonl"
    s3.put_object(Bucket=BUCKET, Key="data/rows.jsonl", Body=b"one")
    first = storage.fetch(uri, tmp_path)
    assert (first.name, first.read_bytes()) == ("rows.jsonl", b"one")
    first.write_bytes(b"cached")
    assert storage.fetch(uri, tmp_path).read_bytes() == b"cached"
    s3.put_object(Bucket=BUCKET, Key="data/rows.jsonl", Body=b"two")
    assert storage.fetch(uri, tmp_path).read_bytes() == b"two"


def test_prefix_is_a_directory(s3: Any, tmp_path: Path) -> None:
    for key in ("model/config.json", "model/deep/vocab.txt", "model/", "models/other.txt"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    fetched = storage.fetch(f"s3://{BUCKET}/model", tmp_path)
    assert content(fetched) == {"config.json": b"model/config.json", "deep/vocab.txt": b"model/deep/vocab.txt"}


def test_key_cannot_leave_its_directory(tmp_path: Path) -> None:
    evil = fetching._Contents(["../evil"], "version")
    with pytest.raises(StorageError, match="points outside its directory"):
        fetching._download(None, Location("b", "p"), evil, tmp_path / "partial")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_shards_that_fetch_at_once_share_one_copy(s3: Any, tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    storage.publish(artifact, f"s3://{BUCKET}/a")
    with ThreadPoolExecutor(4) as pool:
        fetched = set(pool.map(lambda _: storage.fetch(f"s3://{BUCKET}/a", tmp_path / "cache"), range(4)))
    assert len(fetched) == 1
    assert content(fetched.pop()) == content(artifact)


def test_unwritable_cache_is_told(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"one")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="LARPO_CACHE"):
        storage.fetch(f"s3://{BUCKET}/key", tmp_path / "file")


def test_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARPO_CACHE", "/big/disk")
    assert storage.cache_dir() == Path("/big/disk")
    monkeypatch.delenv("LARPO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert storage.cache_dir() == Path("/xdg/larpo")
