"""Work in a child that can be ended, with a child of the tests' own."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from larpo_lib.heartbeat import HangError
from larpo_lib.limited import LimitedProcess
from larpo_lib.limited.child import answer_questions, within


def answered(question):
    """What the child of these tests does."""
    kind, value = question
    if kind == "end":
        os._exit(value)
    if kind == "sleep":
        time.sleep(value)
    if kind == "in C":  # one call, which looks for no signal
        return within(value, lambda: sum(range(10**10)))
    return within(0.05, lambda: sys.stdout.write("noise\n") and [kind, value])


@pytest.fixture(scope="module")
def process():
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}{os.pathsep}{before}"
    try:
        limited = LimitedProcess(Path(__file__).stem)
        limited.answer(["start", 0])
        yield limited
    finally:
        os.environ["PYTHONPATH"] = before


def test_what_is_printed_is_no_answer(process):
    assert process.answer(["one", "\ud800\n"]) == ["one", "\ud800\n"]


def test_an_interrupted_question_leaves_no_answer_to_the_next(process):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(KeyboardInterrupt):
            process.answer(["sleep", 30])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert process.answer(["next", 1]) == ["next", 1]


def test_a_child_that_ends_by_itself_is_told_and_one_that_is_killed_was_out_of_time(process):
    with pytest.raises(RuntimeError, match="test_limited ended with code 3"):
        process.answer(["end", 3])
    assert process.answer(["next", 1]) == ["next", 1]
    child = process.child
    threading.Timer(0.1, child.kill).start()
    assert process.answer(["sleep", 30]) is None
    assert process.answer(["next", 2]) == ["next", 2]


def test_a_child_that_is_stopped_is_ended_and_told(process, monkeypatch):
    monkeypatch.setenv("LARPO_HANG_LIMIT", "1")
    child = process.child
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(HangError, match=rf"test_limited \(process id {child.pid}\) showed no sign of life for 1 s"):
        process.answer(["next", 2])
    assert child.poll() == -signal.SIGKILL
    assert process.answer(["next", 2]) == ["next", 2]


def test_the_kernel_ends_what_no_signal_stops(process):
    assert process.answer(["in C", 0.05]) is None
    assert process.answer(["next", 3]) == ["next", 3]


if __name__ == "__main__":
    answer_questions(answered)
