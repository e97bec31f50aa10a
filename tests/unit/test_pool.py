from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from larpo_lib.artifacts import digest, produce, read_metrics, verify
from larpo_lib.config import ReportConfig
from larpo_lib.pool import use_pool


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
