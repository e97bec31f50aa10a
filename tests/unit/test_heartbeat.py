"""Processes that hang are named and ended; those that work, however slowly, and those that wait with them, are not."""

import os
import signal
import time
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from larpo_lib import heartbeat as module
from larpo_lib.errors import ConfigError
from larpo_lib.heartbeat import CELLS, HangError, Watch, hang_limit_s, heartbeat, mark, shared_cells
from larpo_lib.workers import run_in_processes


class Clock:
    """Time that the tests make, and processes that they let live."""

    def __init__(self, monkeypatch, processes, *, works=True):
        self.now, self.killed = 1000.0, []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(os, "kill", lambda pid, number: self.killed.append((pid, number)))
        self.cells = [number for index in range(processes) for number in (100 + index, 1, 0)]
        self.watch = Watch(self.cells, "worker process", works=works)

    def pass_by(self, seconds, *, alive=(), at_work=()):
        """Let time go by; says what was found."""
        for _ in range(seconds):
            self.now += 1.0
            for field, processes in ((1, alive), (2, at_work)):
                for index in processes:
                    self.cells[CELLS * index + field] += 1
            if (found := self.watch.end_hung()) is not None:
                return str(found)
        return None


def test_a_process_without_a_sign_of_life_is_ended(monkeypatch):
    clock = Clock(monkeypatch, 2)
    assert clock.pass_by(290, alive=[0, 1], at_work=[0]) is None
    assert clock.pass_by(299, alive=[0], at_work=[0]) is None
    assert clock.pass_by(9, alive=[0], at_work=[0]) == (
        "worker process 1 (process id 101) showed no sign of life for 301 s, and was ended. Check the GPU and the "
        "disks of this machine, and run the same command again; it continues where it stopped. LARPO_HANG_LIMIT sets "
        "the limit in seconds."
    )
    assert clock.killed == [(101, signal.SIGKILL)]
    assert clock.pass_by(1000, alive=[0], at_work=[0]) is None, "it was ended once"


def test_of_processes_that_wait_for_one_another_the_first_to_stop_is_ended(monkeypatch):
    """A dead GPU: the process lives, but its work stops; the others get one pass further, and wait for it."""
    clock = Clock(monkeypatch, 3)
    assert clock.pass_by(50, alive=range(3), at_work=range(3)) is None
    assert clock.pass_by(1, alive=range(3), at_work=[0, 2]) is None
    assert clock.pass_by(3599, alive=range(3)) is None
    assert clock.pass_by(5, alive=range(3)).startswith(
        "worker process 1 (process id 101) showed no progress for 3601 s"
    )


def test_at_the_same_second_it_is_the_one_that_has_done_least(monkeypatch):
    clock = Clock(monkeypatch, 3)
    clock.cells[CELLS * 1 + 2] -= 1
    assert clock.pass_by(3610, alive=range(3)).startswith("worker process 1 ")


def test_work_without_marks_may_take_any_time(monkeypatch):
    assert Clock(monkeypatch, 1, works=False).pass_by(10**5, alive=[0]) is None


def test_processes_that_are_not_there_yet_or_have_ended_are_none_that_hang(monkeypatch):
    clock = Clock(monkeypatch, 2)
    clock.cells[CELLS] = 0
    assert clock.pass_by(1000, alive=[0], at_work=[0]) is None
    clock.cells[CELLS] = 7
    assert clock.pass_by(299, alive=[0], at_work=[0]) is None
    assert clock.pass_by(5, alive=[0], at_work=[0]).startswith("worker process 1 (process id 7)")


def test_a_process_that_never_begins_is_ended_after_a_limit_of_its_own(monkeypatch):
    """The limits of those that have begun may be shorter, and longer, than a process takes to read its libraries."""
    monkeypatch.setenv("LARPO_HANG_LIMIT", "20")
    clock = Clock(monkeypatch, 3)
    for index in range(3):
        clock.cells[CELLS * index : CELLS * (index + 1)] = [0, 0, 0]
    assert clock.watch.some_are_missing
    assert clock.pass_by(10**4) is None, "nobody has been started"
    for index in range(3):
        clock.watch.started(index, 100 + index)
    assert not clock.watch.some_are_missing
    assert clock.pass_by(590) is None
    clock.cells[CELLS * 1 + 1] = 1
    clock.cells[:CELLS] = [0, 5, 1]  # it has begun and ended
    clock.watch.started(0, 100)
    assert clock.pass_by(9, alive=[1], at_work=[1]) is None
    assert clock.pass_by(3, alive=[1], at_work=[1]).startswith(
        "worker process 2 (process id 102) did not begin for 601 s, and was ended. Check"
    )
    assert clock.killed == [(102, signal.SIGKILL)]


def test_time_in_which_the_watch_itself_was_stopped_does_not_count(monkeypatch):
    clock = Clock(monkeypatch, 1)
    clock.pass_by(1, alive=[0])
    clock.now += 10**6
    assert clock.pass_by(290) is None


def test_the_limit_is_of_the_environment(monkeypatch):
    monkeypatch.setenv("LARPO_HANG_LIMIT", "20")
    assert hang_limit_s() == 20
    told = Clock(monkeypatch, 1).pass_by(30, at_work=[0])
    assert "no sign of life for 21 s" in told
    for wrong in ("no", "0", "nan", "inf"):
        monkeypatch.setenv("LARPO_HANG_LIMIT", wrong)
        with pytest.raises(ConfigError, match=f"LARPO_HANG_LIMIT = '{wrong}' is not a number of seconds, 1 or more"):
            hang_limit_s()


def test_signs_of_life_are_shared_through_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BEAT_S", 0.001)
    mark()  # nobody watches
    here, there = shared_cells(tmp_path / "cells", 2), shared_cells(tmp_path / "cells", 2)
    with heartbeat(here, 1):
        mark()
        deadline = time.monotonic() + 10
        while not there[CELLS + 1] and time.monotonic() < deadline:
            time.sleep(0.001)
        assert there[CELLS] == os.getpid()
        assert there[CELLS + 1] > 0
        assert there[CELLS + 2] == 1
    mark()
    assert list(there[CELLS::2]) == [0, 1]
    assert list(there[:CELLS]) == [0, 0, 0]


def test_a_worker_that_is_stopped_before_its_first_line_is_named_and_ended(monkeypatch):
    monkeypatch.setattr(module, "_START_S", 0.3)
    start = BaseProcess.start

    def start_stopped(process):
        start(process)
        os.kill(process.pid, signal.SIGSTOP)
        pids.append(process.pid)

    pids = []
    monkeypatch.setattr(BaseProcess, "start", start_stopped)
    with pytest.raises(HangError, match=r"worker process 0 \(process id (\d+)\) did not begin") as caught:
        list(run_in_processes(partial(_stop_at, 1, Path()), 1, 1))
    assert f"(process id {pids[0]})" in str(caught.value)
    assert not Path(f"/proc/{pids[0]}").exists()


def _stop_at(stopped: int, folder: Path, take, done) -> None:
    while (index := take()) is not None:
        if index == stopped:
            (folder / "stopped").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        done(index)


def test_a_worker_that_is_stopped_is_named_and_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("LARPO_HANG_LIMIT", "2")
    with pytest.raises(HangError, match=r"worker process [01] \(process id (\d+)\) showed no sign of life") as caught:
        list(run_in_processes(partial(_stop_at, 1, tmp_path), 4, 2))
    pid = (tmp_path / "stopped").read_text()
    assert f"(process id {pid})" in str(caught.value)
    assert not Path(f"/proc/{pid}").exists()
