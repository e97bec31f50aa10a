"""What goes wrong with a store, and how it is told."""

import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError
from stored_artifacts import BUCKET, make_artifact

from larpo_lib import storage
from larpo_lib.errors import ConfigError, StorageError
from larpo_lib.storage import failures
from larpo_lib.storage.locations import Location


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"s3://{BUCKET}/absent", "no such object or prefix"),
        ("s3://no-such-bucket/key", "no such bucket. Create it"),
        ("s3://Bad_Bucket!/key", r"the request failed \(ParamValidationError\)"),
        ("s3://bucket-only", "not in the form"),
        ("s3://bucket/../key", "not in the form"),
        ("gs://bucket/key", "not in the form"),
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
    with pytest.raises(StorageError, match=r"access denied\. Give these credentials the rights s3:GetObject") as read:
        storage.fetch(f"s3://{BUCKET}/key", tmp_path)
    with pytest.raises(StorageError, match="the store rejects these credentials") as written:
        storage.publish(make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a")
    server.shutdown()
    server.server_close()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in f"{read.value}{written.value}"


def test_store_that_is_busy_or_away_is_waited_for(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    monkeypatch.setenv("LARPO_S3_PATIENCE", "30")
    monkeypatch.setattr(failures.time, "sleep", pauses.append)
    answers = [failures.UnreachableError("s3://bucket/key: store answered 'SlowDown'")] * 3

    def ask() -> str:
        if answers:
            raise answers.pop()
        return "answer"

    assert failures.with_retries(Location("bucket", "key"), ask) == "answer"
    assert pauses == [0.5, 1.0, 2.0]
    assert caplog.messages[0] == "s3://bucket/key: store answered 'SlowDown'; retrying for up to 30 s"
    assert len(caplog.messages) == 3


def test_patience_ends_and_begins_anew_with_every_success(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setenv("LARPO_S3_PATIENCE", "4")
    monkeypatch.setattr(failures.time, "sleep", sleep)
    monkeypatch.setattr(failures.time, "monotonic", lambda: now)
    patience, error = failures.RetryBudget(), failures.UnreachableError("away")
    patience.wait(error)
    patience.wait(error)
    assert now == 0.5 + 1.0
    patience.renew()
    for _ in range(4):  # 0.5, 1, 2 seconds, and what is left of the four
        patience.wait(error)
    assert now == 1.5 + 4.0
    with pytest.raises(failures.UnreachableError, match="away"):
        patience.wait(error)


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan"])
def test_patience_that_is_no_number_of_seconds_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LARPO_S3_PATIENCE", value)
    with pytest.raises(ConfigError, match=f"LARPO_S3_PATIENCE = '{value}'"):
        failures.RetryBudget()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SlowDown", 503, failures.UnreachableError),
        ("InternalError", 500, failures.UnreachableError),
        ("ConditionalRequestConflict", 409, failures.UnreachableError),
        ("502", 502, failures.UnreachableError),
        ("NotImplemented", 501, failures.ConditionalPutError),
        ("PreconditionFailed", 412, failures.AlreadyExistsError),
        ("412", 412, failures.AlreadyExistsError),
        ("404", 404, failures.NotFoundError),
        ("AccessDenied", 403, StorageError),
    ],
)
def test_answers_of_the_store_are_told_apart(code: str, status: int, kind: type[StorageError]) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(StorageError) as raised, failures.s3_errors(Location("bucket", "key")):
        raise ClientError(answer, "PutObject")  # type: ignore[arg-type]
    assert type(raised.value) is kind
