import io
import logging
import sys

import pytest

from larpo_lib import logs
from larpo_lib import progress as module
from larpo_lib.progress import progress, tell


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_plain_lines_come_every_half_minute_and_at_the_end(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress("sample", 100) as advance:
        for _ in range(5):  # 10 units in 10 s each
            clock.now += 10
            advance(10)
    assert caplog.messages == ["sample: 30/100, 1/s, about 70 s left", "sample: 50/100 in 50.0 s"]


def test_what_an_earlier_run_has_done_is_no_part_of_the_speed(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress("sample", 100, done=80) as advance:
        clock.now += 30
        advance(10)
    assert caplog.messages[0] == "sample: 90/100, 0.333/s, about 30 s left"


def test_a_terminal_gets_a_bar_that_ends_full_below_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up()
    with progress("rerank", 4, done=1) as advance:
        tell("half of it")
        advance(3)
    shown = stream.getvalue()
    assert "rerank" in shown
    assert "half of it\n" in shown
    assert shown.index("half of it") < shown.index("4/4")


def test_a_quiet_terminal_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    logs.set_up(logs.QUIET)
    with progress("rerank", 1) as advance:
        advance(1)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_standard_output_stays_free_for_results(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up()
    with progress("rerank", 1) as advance:
        advance(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rerank: 1/1 in ")


def test_an_error_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), progress("rerank", 1):
        raise ZeroDivisionError
