"""Publishing, against moto's S3 server over HTTP."""

import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from stored_artifacts import BUCKET, content, keys, make_artifact

from larpo_lib import storage
from larpo_lib.errors import ArtifactError, StorageError
from larpo_lib.storage import client, fetching, publishing


class BrokenOffError(Exception):
    pass


def break_off(monkeypatch: pytest.MonkeyPatch, uploads: int) -> None:
    """Let so many uploads of publishers pass, and no more."""
    left, turn = [uploads], threading.Lock()

    def count(**_: Any) -> None:
        with turn:
            if not left[0]:
                raise BrokenOffError
            left[0] -= 1

    def make_client(**arguments: Any) -> Any:
        made = client.make_client(**arguments)
        made.meta.events.register("before-call.s3.PutObject", count)
        return made

    monkeypatch.setattr(publishing, "store_client", make_client)


@pytest.mark.parametrize("uploads", range(4))
def test_interrupted_upload_is_no_artifact_until_it_is_repeated(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uploads: int
) -> None:
    artifact, uri = make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a"
    with monkeypatch.context() as patch:
        break_off(patch, uploads)
        with pytest.raises(BrokenOffError):
            storage.publish(artifact, uri)
    there = len(keys(s3))
    assert there <= uploads  # what is sent beside the one that breaks off may be cancelled
    with pytest.raises(StorageError, match="unfinished" if there else "no such object or prefix"):
        storage.fetch(uri, tmp_path / "cache")
    storage.publish(artifact, uri)
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


def test_identical_artifact_is_not_uploaded_again_and_another_one_is_refused(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{BUCKET}/a"
    storage.publish(make_artifact(tmp_path / "a"), uri)
    break_off(monkeypatch, 0)
    storage.publish(make_artifact(tmp_path / "same"), uri)
    with pytest.raises(StorageError, match=r"s3://larpo-bucket/a: contains another artifact"):
        storage.publish(make_artifact(tmp_path / "other", value=2), uri)


def test_only_whole_artifacts_are_published(s3: Any, tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    (artifact / "table.txt").write_text("edited")
    with pytest.raises(ArtifactError, match=r"table\.txt"):
        storage.publish(artifact, f"s3://{BUCKET}/a")
    with pytest.raises(ArtifactError, match="is not an artifact"):
        storage.publish(tmp_path, f"s3://{BUCKET}/a")
    assert keys(s3) == set()


def test_files_of_a_publisher_that_died_are_replaced_once_nobody_else_can_win(s3: Any, tmp_path: Path) -> None:
    uri = f"s3://{BUCKET}/a"
    for key in ("a/metrics.json", "a/table.txt"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"of an artifact that never came to its end")
    artifact = make_artifact(tmp_path / "a")
    storage.publish(artifact, uri)
    assert keys(s3) == {f"a/{name}" for name in content(artifact)}
    for name, written in content(artifact).items():
        assert s3.get_object(Bucket=BUCKET, Key=f"a/{name}")["Body"].read() == written
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


@pytest.mark.parametrize("uploads", range(9))
def test_publisher_that_died_before_it_moved_in_has_lost_nothing(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uploads: int
) -> None:
    """Three files go aside (1 to 3), then the manifest (4, and 5 asks whether it holds), then the files move in."""
    uri, left = f"s3://{BUCKET}/a", b"of an artifact that never came to its end"
    s3.put_object(Bucket=BUCKET, Key="a/metrics.json", Body=left)
    artifact = make_artifact(tmp_path / "a")
    with monkeypatch.context() as patch:
        break_off(patch, uploads)
        with pytest.raises(BrokenOffError):
            storage.publish(artifact, uri)
    if uploads >= 4:  # the manifest is there: so is the artifact, for whoever reads it now
        assert content(storage.fetch(uri, tmp_path / "reader")) == content(artifact)
        other = make_artifact(tmp_path / "other", value=2)
        with pytest.raises(StorageError, match="contains another artifact"):
            storage.publish(other, uri)
        with storage.localize({}, {"out": uri}, tmp_path / "another-machine") as paths:
            assert content(paths["out"]) == content(artifact)
    else:
        with pytest.raises(StorageError, match="unfinished"):
            storage.fetch(uri, tmp_path / "reader")
        storage.publish(artifact, uri)
    assert keys(s3) == {f"a/{name}" for name in content(artifact)}
    for name, written in content(artifact).items():
        assert s3.get_object(Bucket=BUCKET, Key=f"a/{name}")["Body"].read() == written


def test_reader_finds_what_was_moved_in_under_its_hands(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{BUCKET}/a"
    s3.put_object(Bucket=BUCKET, Key="a/metrics.json", Body=b"{}")
    artifact = make_artifact(tmp_path / "a")
    with monkeypatch.context() as patch:
        break_off(patch, 5)
        with pytest.raises(BrokenOffError):
            storage.publish(artifact, uri)
    receive = fetching.receive

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(fetching, "receive", receive)
        storage.publish(artifact, uri)
        receive(*arguments)

    monkeypatch.setattr(fetching, "receive", late)
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)


@pytest.mark.parametrize("knows", [False, True])
def test_store_without_conditional_puts_is_used_with_a_warning(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, knows: bool
) -> None:
    """One store answers that it does not implement the header, the other takes no notice of it."""
    refusal = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}
    answer = None if knows else (AWSResponse("http://store", 501, {}, None), refusal)
    monkeypatch.setattr(client, "_only_if_new", lambda **_: answer)
    artifact, uri = make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a"
    storage.publish(artifact, uri)
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(artifact)
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("larpo_lib")]
    assert [line.split(" ", 1)[1].split(":")[0] for line in warnings] == [
        "ignores If-None-Match" if knows else "does not support If-None-Match"
    ]
    with pytest.raises(StorageError, match="contains another artifact"):
        storage.publish(make_artifact(tmp_path / "other", value=2), uri)


def test_two_that_race_never_touch_what_the_other_has_put(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second wins while the first has still one file to put."""
    first, second = make_artifact(tmp_path / "1"), make_artifact(tmp_path / "2", value=2)
    uri, offer = f"s3://{BUCKET}/a", publishing.send_if_absent

    def slow(only_new: Any, transfers: Any) -> bool:
        if len(transfers) > 1:
            monkeypatch.setattr(publishing, "send_if_absent", offer)
            storage.publish(second, uri)
        return offer(only_new, transfers)

    monkeypatch.setattr(publishing, "send_if_absent", slow)
    with pytest.raises(StorageError, match="contains another artifact"):
        storage.publish(first, uri)
    assert keys(s3) == {f"a/{name}" for name in content(second)}
    assert content(storage.fetch(uri, tmp_path / "cache")) == content(second)
