"""What goes wrong with a store, and how it is told."""

from __future__ import annotations

import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from stored_artifacts import BUCKET, make_artifact

from larpo_lib import storage
from larpo_lib.errors import StorageError


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
