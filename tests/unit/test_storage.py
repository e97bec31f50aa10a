"""Against moto's S3 server over HTTP; what is stored is read and written by a boto3 client of the test's own."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from larpo_lib import storage
from larpo_lib.artifacts import Metrics, Work, produce
from larpo_lib.config import Section
from larpo_lib.errors import ArtifactError, StorageError

BUCKET = "larpo-bucket"


class Settings(Section):
    value: int = 1


def keys(client: Any) -> set[str]:
    return {item["Key"] for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])}


def make_artifact(path: Path, value: int = 1) -> Path:
    def make(work: Work) -> Metrics:
        (work.data / "deep").mkdir()
        (work.data / "deep" / "weights.bin").write_bytes(bytes(range(256)) * 10)
        (work.data / "table.txt").write_text(f"value {value}")
        return {"rows": value}

    produce("test", Settings(value=value), {}, path, make)
    return path


def content(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_artifact_survives_the_round_trip(s3: Any, tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    storage.publish(artifact, f"s3://{BUCKET}/runs/a/")
    assert keys(s3) == {f"runs/a/{name}" for name in content(artifact)}
    fetched = storage.fetch(f"s3://{BUCKET}/runs/a", tmp_path / "cache")
    assert fetched.name == "a"
    assert content(fetched) == content(artifact)


class Failing:
    """A client whose n-th upload breaks off."""

    def __init__(self, client: Any, uploads: float) -> None:
        self._client, self.left = client, uploads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def upload_fileobj(self, *arguments: Any) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self._client.upload_fileobj(*arguments)


@pytest.mark.parametrize("uploads", range(4))
def test_interrupted_upload_is_no_artifact_until_it_is_repeated(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uploads: int
) -> None:
    artifact, uri = make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a"
    with monkeypatch.context() as patch:
        patch.setattr(storage, "_client", lambda: Failing(s3, uploads))
        with pytest.raises(KeyboardInterrupt):
            storage.publish(artifact, uri)
    assert len(keys(s3)) == uploads
    with pytest.raises(StorageError, match="unfinished" if uploads else "no such object or prefix"):
        storage.fetch(uri, tmp_path / "cache")
    storage.publish(artifact, uri)
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


def test_identical_artifact_is_not_uploaded_again_and_another_one_is_refused(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{BUCKET}/a"
    storage.publish(make_artifact(tmp_path / "a"), uri)
    monkeypatch.setattr(storage, "_client", lambda: Failing(s3, 0))
    storage.publish(make_artifact(tmp_path / "same"), uri)
    with pytest.raises(StorageError, match=r"s3://larpo-bucket/a: holds another artifact"):
        storage.publish(make_artifact(tmp_path / "other", value=2), uri)


def test_only_whole_artifacts_are_published(s3: Any, tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    (artifact / "table.txt").write_text("edited")
    with pytest.raises(ArtifactError, match=r"table\.txt"):
        storage.publish(artifact, f"s3://{BUCKET}/a")
    with pytest.raises(ArtifactError, match="is not an artifact"):
        storage.publish(tmp_path, f"s3://{BUCKET}/a")
    assert keys(s3) == set()


def test_damaged_artifact_is_refused_and_fetched_once_it_is_mended(s3: Any, tmp_path: Path) -> None:
    artifact, uri = make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a"
    storage.publish(artifact, uri)
    s3.put_object(Bucket=BUCKET, Key="a/table.txt", Body=b"value 7")
    with pytest.raises(StorageError, match=r"s3://larpo-bucket/a: is damaged.*table\.txt"):
        storage.fetch(uri, tmp_path / "cache")
    s3.put_object(Bucket=BUCKET, Key="a/table.txt", Body=b"value 1")
    s3.put_object(Bucket=BUCKET, Key="a/stray", Body=b"left by another upload")
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


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
    with pytest.raises(StorageError, match="leads out of its directory"):
        storage._download(None, storage._Location("b", "p"), ["../evil"], tmp_path / "partial")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_shards_that_fetch_at_once_share_one_copy(s3: Any, tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    storage.publish(artifact, f"s3://{BUCKET}/a")
    with ThreadPoolExecutor(4) as pool:
        fetched = set(pool.map(lambda _: storage.fetch(f"s3://{BUCKET}/a", tmp_path / "cache"), range(4)))
    assert len(fetched) == 1
    assert content(fetched.pop()) == content(artifact)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"s3://{BUCKET}/absent", "no such object or prefix"),
        ("s3://no-such-bucket/key", "no such bucket. Create it"),
        ("s3://Bad_Bucket!/key", r"the request failed \(ParamValidationError\)"),
        ("s3://bucket-only", "not of the form"),
        ("s3://bucket/../key", "not of the form"),
        ("gs://bucket/key", "not of the form"),
    ],
)
def test_wrong_uri_is_told(s3: Any, tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(StorageError, match=message) as raised:
        storage.fetch(uri, tmp_path)
    assert str(raised.value).startswith(uri)


def test_missing_credentials_are_told(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match=r"no credentials\. Set AWS_ACCESS_KEY_ID"):
        storage.fetch(f"s3://{BUCKET}/key", tmp_path)


def test_unreachable_endpoint_is_told_within_seconds(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://user:hidden@127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9 cannot be reached") as raised:
        storage.fetch(f"s3://{BUCKET}/key", tmp_path)
    assert time.monotonic() - start < 20
    assert "hidden" not in str(raised.value)


def test_broken_endpoint_is_told_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "user:hidden@nowhere")
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL_S3") as raised:
        storage.fetch(f"s3://{BUCKET}/key", tmp_path)
    assert "hidden" not in str(raised.value)


class Refusing(BaseHTTPRequestHandler):
    """Answers as S3 does to the wrong key, quoting it."""

    def do_GET(self) -> None:
        secret = os.environ["AWS_SECRET_ACCESS_KEY"]
        body = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{secret}</Message></Error>".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_refused_credentials_are_told_and_never_shown(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(StorageError, match=r"access denied\. Grant s3:GetObject") as read:
        storage.fetch(f"s3://{BUCKET}/key", tmp_path)
    with pytest.raises(StorageError, match="the store refuses these credentials") as written:
        storage.publish(make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a")
    server.shutdown()
    server.server_close()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in f"{read.value}{written.value}"


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
