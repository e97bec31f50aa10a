"""What goes wrong with a store, and how it is told."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError
from stored_artifacts import BUCKET, make_artifact

from larpo_lib import storage
from larpo_lib.errors import ConfigError, StorageError
from larpo_lib.storage import client, failures
from larpo_lib.storage.locations import Location
from larpo_lib.storage.transfer import Transfer, receive


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


@pytest.fixture
def hung_store(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The store of the environment takes whatever it is sent, and says at most what is in the list, for ever."""
    said: list[bytes] = []
    taken: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def take() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                taken.append(connection)
                for text in said:
                    connection.sendall(text)

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setattr(client, "_LEAST_S", 0.1)
    monkeypatch.setenv("LARPO_S3_PATIENCE", "1.2")
    thread = Thread(target=take)
    thread.start()
    yield said
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
    for connection in taken:
        connection.close()


BEGUN = b"HTTP/1.1 200 OK\r\nETag: '0'\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("answer", ["", "begun"])
@pytest.mark.parametrize("use", ["fetch", "receive", "publish"])
def test_a_store_that_hangs_is_left_when_patience_is_over(
    use: str, answer: str, hung_store: list[bytes], tmp_path: Path
) -> None:
    """1.2 s of silence end it, and not boto3's three tries, s3transfer's five and its pauses, each with its own."""
    hung_store += [BEGUN] if answer else []
    there, artifact = Location(BUCKET, "key"), make_artifact(tmp_path / "a")
    uses: dict[str, Callable[[], object]] = {
        "fetch": lambda: storage.fetch(str(there), tmp_path / "cache"),
        "receive": lambda: receive(client.store_client(), [Transfer(tmp_path / "file", there)]),
        "publish": lambda: storage.publish(artifact, str(there)),
    }
    start = time.monotonic()
    with pytest.raises(failures.UnreachableError, match="cannot be reached, or closed the connection"):
        uses[use]()
    assert 0.3 <= time.monotonic() - start < 6.0


@pytest.mark.parametrize(("patience", "silence", "tries"), [(0, 5, 1), (5, 5, 1), (10, 5, 2), (20, 5, 3), (180, 45, 3)])
def test_silence_and_tries_are_shares_of_the_patience(
    patience: int, silence: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARPO_S3_PATIENCE", str(patience))
    assert (client.silence_s(), client.attempts()) == (silence, tries)
    assert client.make_client().meta.config.read_timeout == silence


def test_patience_counts_from_the_last_byte_before_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setenv("LARPO_S3_PATIENCE", "8")
    monkeypatch.setattr(failures.time, "sleep", lambda _: None)
    monkeypatch.setattr(failures.time, "monotonic", lambda: now)
    patience, error = failures.RetryBudget(), failures.UnreachableError("away")
    now = 1000.0
    patience.heard()
    now = 1007.0
    patience.wait(error)
    patience.heard()  # bytes of a try that fails again
    now = 1009.0
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
        ("TooManyRequests", 429, failures.UnreachableError),
        ("429", 429, failures.UnreachableError),  # to a HEAD, which has no body
        ("408", 408, failures.UnreachableError),
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


@pytest.mark.parametrize(
    ("code", "operation", "told"),
    [
        ("RequestTimeTooSkewed", "PutObject", r"the store's clock .* differ\. Set the clock of this machine"),
        (
            "AccessDenied",
            "AssumeRoleWithWebIdentity",
            r"the role arn:aws:iam::1:role/larpo could not be assumed .*'AccessDenied'.* the role's trust policy",
        ),
        ("AccessDenied", "PutObject", "access denied.*s3:PutObject"),
    ],
)
def test_the_remedy_is_that_of_the_cause(monkeypatch: pytest.MonkeyPatch, code: str, operation: str, told: str) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/larpo")
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    with pytest.raises(StorageError, match=told), failures.s3_errors(Location("bucket", "key")):
        raise ClientError(answer, operation)  # type: ignore[arg-type]
