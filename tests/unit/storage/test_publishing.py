"""Publishing, against moto's S3 server over HTTP."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from stored_artifacts import BUCKET, content, keys, make_artifact

from larpo_lib import storage
from larpo_lib.errors import ArtifactError, StorageError
from larpo_lib.storage import client, publishing


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

    monkeypatch.setattr(publishing, "make_client", make_client)


@pytest.mark.parametrize("uploads", range(4))
def test_interrupted_upload_is_no_artifact_until_it_is_repeated(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uploads: int
) -> None:
    artifact, uri = make_artifact(tmp_path / "a"), f"s3://{BUCKET}/a"
    with monkeypatch.context() as patch:
        break_off(patch, uploads)
        with pytest.raises(BrokenOffError):
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
    break_off(monkeypatch, 0)
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
