"""A pod keeps what it fetches on the cache volume, or beside it."""

import os
import tempfile
from pathlib import Path

import pytest

from larpo_lib.pipeline.pod_cache import use_writable_cache
from larpo_lib.storage import cache_dir


def test_a_volume_that_can_be_written_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "new" / "cache"))
    assert use_writable_cache() == cache_dir() == tmp_path / "new" / "cache"
    assert list(cache_dir().iterdir()) == []
    assert os.environ["HF_HOME"] == str(cache_dir() / "huggingface")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away and be another user")
def test_a_volume_of_roots_is_told_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a pod meets it whose volume belongs to root: tried as the images' user, in a process of its own."""
    volume, own = tmp_path / "cache", tmp_path / "tmp"
    volume.mkdir(mode=0o755)
    own.mkdir()
    own.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    monkeypatch.setenv("LARPO_CACHE", str(volume))
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    child = os.fork()
    if child == 0:  # pragma: no cover - its exit code tells
        os.setgid(1000)
        os.setuid(1000)
        settled = use_writable_cache()
        good = settled == cache_dir() == own / "larpo-cache" and os.access(settled, os.W_OK)
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_what_is_no_directory_is_told_with_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file" / "huggingface"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert use_writable_cache() == cache_dir() == tmp_path / "larpo-cache"
    assert os.environ["HF_HOME"] == str(cache_dir() / "huggingface")
    assert f"{tmp_path}/file is not writable for user" in caplog.text
