"""Outputs on file systems without locks, with locks of one machine alone, and with processes that are gone or stuck."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from small_artifacts import OneSetting, Settings, beside, content, double, never

from larpo_lib import artifacts, half_done, holder, locks
from larpo_lib.artifacts import Metrics, WorkDir, produce, verify
from larpo_lib.errors import ArtifactError, HeldError
from larpo_lib.holder import Holder
from larpo_lib.locks import exclusive, waiting

_FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT_S", 0.05), ("STALE_S", 0.4)):
        monkeypatch.setattr(locks, name, seconds)


def without_locks(number: int) -> Callable[[Any, int], None]:
    def refuse(_file: object, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def of_one_machine(_file: object, _how: int) -> None:
    """The kernel of each machine gives its own lock."""


ways = pytest.mark.parametrize(
    "flock",
    [fcntl.flock, without_locks(errno.ENOLCK), without_locks(errno.EOPNOTSUPP), of_one_machine],
    ids=["locks", "ENOLCK", "EOPNOTSUPP", "two machines"],
)


@contextmanager
def at_work(output: Path, hostname: str, *, stopped: signal.Signals | None = None) -> Iterator[Any]:
    """Another process, perhaps on another machine, that has done a part and goes on as soon as `go` is there."""
    process = _FORK.Process(target=_work, args=(output, hostname))
    process.start()
    while not list(output.parent.glob(f".{output.name}.partial/*/scratch/part-0")):
        assert process.is_alive()
        time.sleep(0.005)
    if stopped is not None:
        os.kill(process.pid or 0, stopped)
    if stopped == signal.SIGKILL:
        process.join()
    try:
        yield process
    finally:
        (output.parent / "go").touch()
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGCONT)
        process.join(10)
        assert process.exitcode is not None


def _work(output: Path, hostname: str) -> None:
    holder.machine = lambda: hostname
    holder.socket.gethostname = lambda: hostname

    def make(work: WorkDir) -> Metrics:
        (work.scratch / "part-0").write_text("hours of work", "utf-8")
        while not (output.parent / "go").exists():
            time.sleep(0.005)
        return double(work)

    try:
        said = str(produce("double", Settings(), {}, output, make))
    except ArtifactError as error:
        said = f"{type(error).__name__}: {error}"
    (output.parent / f"{hostname}.said").write_text(said, "utf-8")
    os._exit(0)


def goes_on(work: WorkDir) -> Metrics:
    assert (work.scratch / "part-0").read_text("utf-8") == "hours of work"
    return double(work)


@pytest.fixture
def other(flock: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the machine that another process is on."""
    monkeypatch.setattr(locks.fcntl, "flock", flock)
    monkeypatch.setattr(holder, "machine", lambda: "here")
    return "there" if flock is of_one_machine else "here"


@ways
def test_who_is_at_work_is_told(tmp_path: Path, other: str) -> None:
    with at_work(tmp_path / "out", other) as process:
        with pytest.raises(HeldError) as caught:
            produce("double", Settings(), {}, tmp_path / "out", never)
        since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        told = rf"{tmp_path}/out: another process is writing it \(process {process.pid} on {other}, since {since}\)\. "
        assert caught.match(f"^{told}Wait until it ends, or choose another output\\.$")
    produce("double", Settings(), {}, tmp_path / "out", never)
    assert beside(tmp_path / "out") == {"out", "go", f"{other}.said"}


@ways
def test_what_a_killed_process_has_done_is_gone_on_with(tmp_path: Path, other: str) -> None:
    with at_work(tmp_path / "out", other, stopped=signal.SIGKILL):
        start = time.monotonic()
        produce("double", Settings(), {}, tmp_path / "out", goes_on)
        assert (time.monotonic() - start > 0.2) == (other == "there")  # only another machine's has to be waited for
    assert beside(tmp_path / "out") == {"out", "go"}
    verify(tmp_path / "out")


@pytest.mark.parametrize("flock", [of_one_machine], ids=["two machines"])
@pytest.mark.parametrize("first", ["publishes", "is at work"])
def test_a_process_that_stood_still_leaves_all_to_the_one_that_went_on(tmp_path: Path, other: str, first: str) -> None:
    """As a virtual machine that is paused, or a server of files that was away for one of two."""
    output, said = tmp_path / "out", tmp_path / "there.said"

    def wake(work: WorkDir) -> Metrics:
        metrics = goes_on(work)
        if first == "is at work":
            (tmp_path / "go").touch()
            os.kill(process.pid, signal.SIGCONT)
            process.join(10)
        return metrics

    with at_work(output, other, stopped=signal.SIGSTOP) as process:
        produce("double", Settings(), {}, output, wake)
    verify(output)
    produce("double", Settings(), {}, tmp_path / "alone", double)
    assert content(output) == content(tmp_path / "alone")
    assert said.read_text("utf-8") == (
        "{'rows': 2, 'share': 0.5, 'undefined': None}"
        if first == "publishes"
        else f"HeldError: {output}: another process has taken it over, because this one gave no sign of life. "
        "Wait until it ends, and run the same command again."
    )


@pytest.mark.parametrize("settings", [Settings(), Settings(value=2)], ids=["the same", "another"])
def test_of_two_that_publish_at_once_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: OneSetting
) -> None:
    """Even if nothing at all keeps them apart: the other one takes the artifact, or is told that it is another."""
    monkeypatch.setattr(locks, "_flock", lambda *_: True)
    monkeypatch.setattr(locks._FileNote, "create", lambda *_: True)
    monkeypatch.setattr(locks.Lock, "is_lost", lambda _lock: False)
    monkeypatch.setattr(half_done, "_folders", lambda _output: iter(()))
    begun, rename = threading.Barrier(2), Path.rename
    # Both rename only when both have all their files.
    monkeypatch.setattr(Path, "rename", lambda path, to: (path.name == "data" and begun.wait(10), rename(path, to))[1])
    found: dict[int, object] = {}

    def run(number: int, config: OneSetting) -> None:
        def make(work: WorkDir) -> Metrics:
            return {**double(work), "of": number}

        try:
            found[number] = produce("double", config, {}, tmp_path / "out", make)
        except ArtifactError as error:
            found[number] = str(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate((Settings(), settings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verify(tmp_path / "out")
    winner = artifacts.read_metrics(tmp_path / "out")
    loser = found[1 - int(winner["of"] or 0)]
    if settings == Settings():
        assert loser == winner
        assert f"{tmp_path / 'out'}: another process has made it; its result is taken" in caplog.messages
    else:
        assert "exists already, but was made with config.value" in str(loser)


def test_a_program_that_knows_no_notes_is_told_too(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(HeldError, match=r"out: another process is writing it\. Wait"),
            exclusive(tmp_path / ".lock", tmp_path / "out"),
        ):
            raise AssertionError


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_note_that_says_nothing_counts_until_it_is_old(tmp_path: Path, text: str) -> None:
    note = tmp_path / ".lock.holder"
    note.write_text(text, "utf-8")
    with exclusive(tmp_path / ".lock", tmp_path / "out") as lock:
        assert not lock.is_lost()
        assert json.loads(note.read_text("utf-8"))["pid"] == os.getpid()
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_an_old_note_of_another_machine_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / ".lock.holder"
    note.write_text(json.dumps(asdict(replace(Holder.here(), machine="there"))), "utf-8")
    os.utime(note, (time.time() - 60, time.time() - 60))
    monkeypatch.setattr(locks.time, "sleep", None)
    with exclusive(tmp_path / ".lock", tmp_path / "out"):
        pass


def test_a_note_whose_time_lies_ahead_counts_no_longer_than_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / ".lock.holder"
    note.write_text(json.dumps(asdict(replace(Holder.here(), machine="there"))), "utf-8")
    os.utime(note, (time.time() + 3600, time.time() + 3600))
    monkeypatch.setattr(locks, "STALE_S", 0.1)
    monkeypatch.setattr(locks, "BEAT_S", 0.05)
    with exclusive(tmp_path / ".lock", tmp_path / "out") as lock:
        assert not lock.is_lost()


def test_a_process_with_the_number_of_one_that_is_gone_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks.fcntl, "flock", without_locks(errno.ENOLCK))
    (tmp_path / ".lock.holder").write_text(json.dumps(asdict(replace(Holder.here(), began="1"))), "utf-8")
    with exclusive(tmp_path / ".lock", tmp_path / "out"):
        pass


def test_of_two_that_find_an_old_note_one_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one has read the old note, and finds the faster one's in its place: it puts that back."""
    monkeypatch.setattr(locks.fcntl, "flock", without_locks(errno.ENOLCK))
    note, faster = tmp_path / ".lock.holder", json.dumps(asdict(replace(Holder.here(), token="faster")))
    note.write_text(json.dumps(asdict(replace(Holder.here(), began="1"))), "utf-8")
    is_gone = Holder.is_gone

    def overtaken(found: Holder) -> bool:
        gone = is_gone(found)
        if gone:
            note.write_text(faster, "utf-8")
        return gone

    monkeypatch.setattr(Holder, "is_gone", overtaken)
    with pytest.raises(HeldError), exclusive(tmp_path / ".lock", tmp_path / "out"):
        raise AssertionError
    assert note.read_text("utf-8") == faster
    assert {path.name for path in tmp_path.iterdir()} == {".lock", ".lock.holder"}


@pytest.mark.parametrize("flock", [fcntl.flock, without_locks(errno.ENOLCK)], ids=["locks", "ENOLCK"])
@pytest.mark.usefixtures("other")
def test_whoever_waits_is_let_in_at_the_end(tmp_path: Path) -> None:
    entered: list[str] = []

    def enter(name: str) -> None:
        with waiting(tmp_path / ".lock"):
            entered.append(f"{name} in")
            time.sleep(0.05)
            entered.append(f"{name} out")

    threads = [threading.Thread(target=enter, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])


def test_other_errors_of_a_lock_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks.fcntl, "flock", without_locks(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), exclusive(tmp_path / ".lock", tmp_path / "out"):
        raise AssertionError
