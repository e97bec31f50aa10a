"""What a killed process leaves behind is ended. Engines are stand-ins here: a child that has a child."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from larpo_lib.errors import LarpoError
from larpo_lib.guard import Guard
from larpo_lib.workers import run_in_processes

if sys.platform != "linux":
    pytest.skip("looks for processes as Linux tells them", allow_module_level=True)

_SPAWN = multiprocessing.get_context("spawn")


def _engine(told: Path) -> None:
    child = subprocess.Popen(["sleep", "120"])
    new = told.with_name("new")
    new.write_text(f"{os.getpid()} {child.pid}")
    new.rename(told)
    child.wait()


def _start(told: Path) -> None:
    _SPAWN.Process(target=_engine, args=(told,)).start()
    _wait_for(told)
    time.sleep(1.0)  # an engine takes a minute; the guard looks five times a second


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _own(told: Path, loads: bool, forks: bool = False) -> None:
    """Start an engine, and be killed: while it loads, or while it is at work."""
    guard = Guard()
    if forks:
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,), daemon=True).start()
    with guard.over_new_children():
        _start(told)
        if loads:
            told.with_name("ready").touch()
            time.sleep(120)
    told.with_name("ready").touch()
    time.sleep(120)


def _living(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(pid)
    return found


def _assert_ended(told: Path) -> None:
    pids = [int(pid) for pid in told.read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while (left := _living(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.mark.parametrize(
    ("loads", "forks"),
    [(True, False), (False, False), (False, True)],
    ids=["while-it-loads", "at-work", "a-fork-lives-on"],
)
def test_an_engine_ends_with_a_process_that_is_killed(tmp_path: Path, loads: bool, forks: bool) -> None:
    owner = _SPAWN.Process(target=_own, args=(tmp_path / "pids", loads, forks))
    owner.start()
    _wait_for(tmp_path / "ready")
    owner.kill()
    owner.join()
    _assert_ended(tmp_path / "pids")


def _one_fails(told: Path, take, _done) -> None:
    if take() == 0:
        _own(told, loads=False)
    _wait_for(told.with_name("ready"))
    raise LarpoError("the other one fails")


def test_an_engine_ends_with_a_worker_that_is_ended_because_another_one_failed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(LarpoError, match="the other one fails"):
        list(run_in_processes(partial(_one_fails, tmp_path / "pids"), 2, 2))
    _assert_ended(tmp_path / "pids")


def test_what_has_begun_ends_where_the_start_fails(tmp_path: Path) -> None:
    def begin() -> None:
        with Guard().over_new_children():
            _start(tmp_path / "pids")
            raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        begin()
    _assert_ended(tmp_path / "pids")


def test_only_new_children_end(tmp_path: Path) -> None:
    older = _SPAWN.Process(target=time.sleep, args=(120,))
    older.start()
    guard = Guard()
    with guard.over_new_children():
        _start(tmp_path / "pids")
    assert len(_living([int(pid) for pid in (tmp_path / "pids").read_text().split()])) == 2
    guard.end()
    _assert_ended(tmp_path / "pids")
    assert older.is_alive()
    older.kill()
    older.join()
