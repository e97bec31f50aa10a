"""What larpo makes of the environment's settings for the store."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from larpo_lib import storage
from larpo_lib.storage import client

BUCKET = "larpo-bucket"


@pytest.mark.parametrize(
    ("endpoint", "style"),
    [
        (None, "auto"),
        ("https://s3.eu-central-1.amazonaws.com", "auto"),
        ("https://minio.local:9000", "path"),
        ("http://amazonaws.com.local", "path"),
    ],
)
def test_stores_other_than_aws_are_asked_by_path(
    s3: Any, monkeypatch: pytest.MonkeyPatch, endpoint: str | None, style: str
) -> None:
    if endpoint is None:
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    config = client.make_client().meta.config
    assert config.s3["addressing_style"] == style
    assert config.request_checksum_calculation == ("when_required" if style == "path" else "when_supported")


def test_region_is_that_of_the_environment(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.make_client().meta.region_name == "us-east-1"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert client.make_client().meta.region_name == "eu-north-1"


def test_store_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://me:hunter2@store:9000")
    assert client.store_name() == "store:9000"
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert client.store_name() == "AWS S3"


def test_a_process_has_one_client_for_the_same_settings(
    s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: storage.complete_directories(f"s3://{BUCKET}/a", last="x"), range(8)))
    own = client.store_client()
    assert own is client.store_client()
    assert own is not client.store_client(only_new=True)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert client.store_client() is not own
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-id")
    assert client.store_client() is own
    (tmp_path / "no-credentials").write_text("[default]\naws_access_key_id = newer\n")
    assert client.store_client() is not own


def test_a_forked_process_gets_a_client_of_its_own(s3: Any) -> None:
    before = client.store_client()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"own" if client.store_client() is not before else b"shared")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"own"
