import errno
import fcntl
import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from larpo_lib.artifacts import digest, produce, read_metrics, verify
from larpo_lib.config import ReportConfig
from larpo_lib.errors import ConfigError, StorageError
from larpo_lib.pool import check_pool, use_pool


def _make(output: Path, made: list[str], title: str = "t", seconds: float = 0.0):
    def make(work):
        time.sleep(seconds)
        made.append(output.name)
        (work.data / "folder").mkdir()
        (work.data / "folder" / "file").write_text(title)
        return {"titles": 1}

    return produce("step", ReportConfig(title=title), {}, output, make)


def test_the_second_run_links_what_the_first_one_made(tmp_path):
    made: list[str] = []
    with use_pool(tmp_path / "pool"):
        assert _make(tmp_path / "a", made) == _make(tmp_path / "b", made) == {"titles": 1}
    assert made == ["a"]
    verify(tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert (tmp_path / "a/folder/file").samefile(tmp_path / "b/folder/file")


@pytest.mark.parametrize("damage", ["content", "file", "manifest"])
def test_what_is_damaged_in_the_pool_is_made_again_and_not_linked(tmp_path, caplog, damage):
    """A file of an artifact and of the pool is one and the same: to delete the artifact repaired nothing."""
    made: list[str] = []
    with use_pool(tmp_path / "pool"):
        _make(tmp_path / "a", made)
        [member] = [path for path in (tmp_path / "pool").iterdir() if path.is_dir()]
        damaged = member / ("artifact.json" if damage == "manifest" else "folder/file")
        if damage == "file":
            damaged.unlink()
        else:
            with damaged.open("r+") as file:
                file.write("X")
        shutil.rmtree(tmp_path / "a")  # as the error of whoever reads it says
        for name in ("a", "b"):
            _make(tmp_path / name, made)
            verify(tmp_path / name)
    assert made == ["a", "a"]
    assert (tmp_path / "a/folder/file").samefile(tmp_path / "b/folder/file")
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith(str(damaged))
    assert told.endswith("; it is taken from the pool, and made again")


def test_other_settings_are_another_artifact(tmp_path):
    made: list[str] = []
    with use_pool(tmp_path / "pool"):
        _make(tmp_path / "a", made)
        _make(tmp_path / "b", made, title="u")
    assert made == ["a", "b"]
    assert (tmp_path / "b/folder/file").read_text() == "u"


def test_without_a_pool_everything_is_made(tmp_path):
    made: list[str] = []
    with use_pool(tmp_path / "pool"):
        _make(tmp_path / "a", made)
    _make(tmp_path / "b", made)
    with use_pool(None):
        _make(tmp_path / "c", made)
    assert made == ["a", "b", "c"]


def test_what_fails_joins_no_pool(tmp_path):
    def fail(work):
        raise ValueError("no")

    with use_pool(tmp_path / "pool"):
        with pytest.raises(ValueError, match="no"):
            produce("step", ReportConfig(title="t"), {}, tmp_path / "a", fail)
        made: list[str] = []
        _make(tmp_path / "b", made)
    assert made == ["b"]


def _in_process(place: Path, name: str) -> None:
    with use_pool(place / "pool"):
        _make(place / name, [], seconds=0.5)
        (place / f"{name}.done").touch()


def test_of_two_processes_one_makes_it(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_in_process, args=(tmp_path, name)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert read_metrics(tmp_path / "a") == read_metrics(tmp_path / "b")
    assert (tmp_path / "a/folder/file").samefile(tmp_path / "b/folder/file")


def test_a_pool_of_the_runs_file_system_can_be_used(tmp_path):
    pool, out = tmp_path / "pool", tmp_path / "runs" / "a"
    check_pool(pool, out)
    check_pool(out / "pool", out)  # as a study has it
    assert [path.name for path in (*pool.iterdir(), *out.iterdir())] == ["pool"]


def test_a_pool_that_cannot_link_is_refused(tmp_path, monkeypatch):
    def link(_source, _target):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", link)
    told = r"pool: cannot hold hard links to files of .*: Invalid cross-device link\. Use a pool on the file system of"
    with pytest.raises(StorageError, match=told):
        check_pool(tmp_path / "pool", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_pool_of_elsewhere_or_the_run_itself_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"the pool s3:/bucket/pool is not a local directory"):
        check_pool(Path("s3://bucket/pool"), tmp_path / "out")
    with pytest.raises(ConfigError, match="is the pool and the run"):
        check_pool(tmp_path / "out", tmp_path / "runs" / ".." / "out")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file: cannot be created: File exists"):
        check_pool(tmp_path / "file", tmp_path / "out")


def test_who_waits_for_another_run_says_so(tmp_path, caplog):
    made: list[str] = []
    with use_pool(tmp_path / "pool"):
        _make(tmp_path / "a", made)
        [lock] = (tmp_path / "pool").glob(".*.lock")
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            thread = threading.Timer(0.05, fcntl.flock, (held, fcntl.LOCK_UN))
            thread.start()
            _make(tmp_path / "b", made)
            thread.join()
    assert made == ["a"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'b'}: waiting for another run that is making the same artifact",
        f"{tmp_path / 'b'}: linked from the pool",
    ]
