"""Processes of a training that stop before their first line, so that they cannot say who they are."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from larpo_lib import heartbeat
from larpo_lib.heartbeat import HangError, shared_cells
from larpo_lib.steps import processes


def test_a_rank_that_is_stopped_before_its_first_line_is_named_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_START_S", 0.05)
    monkeypatch.setattr(processes, "_POLL_S", 0.01)
    call, hung = tmp_path / "call.json", list[HangError]()
    cells = shared_cells(tmp_path / "cells", 2)
    cells[1] = 1  # rank 0 has begun and ended

    def rank(number: int, call: Path) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "LOCAL_RANK": str(number)}
        return subprocess.Popen(["/bin/sh", "-c", "read line", str(call)], env=environment, stdin=subprocess.PIPE)

    with rank(1, tmp_path / "another.json") as other, rank(1, call) as stopped:
        stopped.send_signal(signal.SIGSTOP)
        with processes._watched(call, cells, hung):
            assert stopped.wait(20) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()
    assert [str(one).partition(" did not begin")[0] for one in hung] == [
        f"training process 1 (process id {stopped.pid})"
    ]
