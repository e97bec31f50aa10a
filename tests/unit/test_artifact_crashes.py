import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_artifacts import OneSetting, Settings, beside, content, double, never

from larpo_lib import files
from larpo_lib.artifacts import Metrics, WorkDir, produce, verify
from larpo_lib.errors import StorageError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("source", "utf-8")
    return path


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from larpo_lib.config import Section
from larpo_lib import artifacts, files

class Settings(Section):
    value: int = 1

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def make(work):
    count = work.scratch / "runs"
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    (work.data / "number.txt").write_text("2")
    if place == "middle of the work":
        kill()
    return {"rows": 2}

place, output = sys.argv[1], Path(sys.argv[2])
if place == "before the manifest":
    whole = artifacts.write_json
    artifacts.write_json = lambda path, value: kill() if path.name == "artifact.json" else whole(path, value)
if place == "in the middle of the manifest":
    files.os.fsync = lambda descriptor: kill()
if place == "before the rename":
    Path.rename = kill
if place == "after the rename":
    rename = Path.rename
    Path.rename = lambda self, target: (rename(self, target), kill())
if place == "before the cleanup":
    remove = shutil.rmtree
    shutil.rmtree = lambda path, **options: kill() if output.exists() else remove(path, **options)
print(artifacts.produce("double", Settings(), {}, output, make))
"""


@pytest.mark.parametrize(
    ("place", "published"),
    [
        ("middle of the work", False),
        ("before the manifest", False),
        ("in the middle of the manifest", False),
        ("before the rename", False),
        ("after the rename", True),
        ("before the cleanup", True),
    ],
)
def test_killed_at_any_place_a_rerun_ends_with_the_same_bytes(tmp_path: Path, place: str, published: bool) -> None:
    output = tmp_path / "out"

    def run(where: str) -> int:
        return subprocess.run([sys.executable, "-c", KILLED, where, output], check=False).returncode

    assert run(place) == -signal.SIGKILL
    assert output.exists() is published
    assert (tmp_path / ".out.partial").exists()
    if published:
        verify(output)
    assert run("nowhere") == 0
    assert beside(output) == {"out"}

    def make(work: WorkDir) -> Metrics:
        (work.data / "number.txt").write_text("2", "utf-8")
        return {"rows": 2}

    produce("double", OneSetting(), {}, tmp_path / "whole", make)
    assert content(output) == content(tmp_path / "whole")


def test_of_two_at_once_one_is_told(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from larpo_lib.artifacts import produce
from larpo_lib.config import ReportConfig
from larpo_lib.errors import LarpoError

def make(work):
    print("working", flush=True)
    sys.stdin.readline()
    (work.data / "x").touch()
    return {}

try:
    produce("s", ReportConfig(), {}, Path(sys.argv[1]), make)
except LarpoError as error:
    print(type(error).__name__, error)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        assert first.stdout.readline() == "working\n"
        second = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        other = [*command[:-1], str(tmp_path / "other")]
        third = subprocess.run(other, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        first.communicate("go on\n")
    who = rf"\(process {first.pid} on {re.escape(socket.gethostname())}, since [-\d]+ [:\d]+ UTC\)"
    assert re.fullmatch(
        rf"HeldError {tmp_path / 'out'}: another process is writing it {who}\. Wait until it ends, or choose "
        r"another output\.\n",
        second.stdout,
    )
    assert third.stdout == "working\n"
    assert (first.returncode, second.returncode) == (0, 0)
    verify(tmp_path / "out")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_full_disk_is_told_and_partial_results_stay(small_disk: Path) -> None:
    def fill(work: WorkDir) -> Metrics:
        if not (work.scratch / "part-0").exists():
            (work.scratch / "part-0").write_bytes(bytes(8192))
        (work.data / "large").write_bytes(bytes(1 << 20))
        return {}

    with pytest.raises(
        StorageError, match=r"out: cannot be created: No space left on device.*\. .* continues where it"
    ):
        produce("fill", Settings(), {}, small_disk / "out", fill)
    assert not (small_disk / "out").exists()
    parts = list((small_disk / ".out.partial").glob("*/scratch/part-0"))
    assert [part.stat().st_size for part in parts] == [8192]

    def less(work: WorkDir) -> Metrics:
        assert (work.scratch / "part-0").stat().st_size == 8192
        (work.data / "small").write_bytes(b"1")
        return {}

    produce("fill", Settings(), {}, small_disk / "out", less)
    verify(small_disk / "out")


def test_disk_that_fills_up_while_publishing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        produce("double", Settings(), {}, tmp_path / "out", double)
    assert beside(tmp_path / "out") == {".out.partial"}
    monkeypatch.undo()
    produce("double", Settings(), {}, tmp_path / "out", double)
    verify(tmp_path / "out")


@pytest.mark.parametrize("below", ["out", "deeper/out"])
def test_output_below_a_file_is_told(source: Path, below: str) -> None:
    with pytest.raises(StorageError, match=r"source\.txt.*: cannot be created: .*\. Choose another directory"):
        produce("double", Settings(), {}, source / below, never)


def test_refused_access_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: WorkDir) -> Metrics:
        raise PermissionError(13, os.strerror(13), str(work.data / "x"))

    with pytest.raises(StorageError, match=r"out: cannot be created: Permission denied \(.*/data/x\)"):
        produce("double", Settings(), {}, tmp_path / "out", refuse)


def test_other_operating_system_errors_are_no_fault_of_the_users(tmp_path: Path) -> None:
    def bug(work: WorkDir) -> Metrics:
        (work.data / "nothing").read_bytes()
        return {}

    with pytest.raises(FileNotFoundError):
        produce("double", Settings(), {}, tmp_path / "out", bug)
