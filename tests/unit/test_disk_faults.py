"""What a disk, a directory or standard output refuses is told in one line."""

import errno
import gc
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from forked import forked
from safetensors.torch import save_file
from small_artifacts import Settings, beside, double, never
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from larpo_lib.artifacts import Metrics, WorkDir, produce, verify
from larpo_lib.cli.app import _open_streams, main
from larpo_lib.errors import ArtifactError, DataError, EndpointError, LarpoError, StorageError
from larpo_lib.files import disk_errors, make_directory, refusal
from larpo_lib.workers import _told

NUMBERS = np.random.default_rng(0).random(10**5)


def _insert(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table kept (value)")
        database.execute("insert into kept values (?)", (NUMBERS.tobytes(),))


WRITERS: dict[str, Callable[[Path], object]] = {
    "safetensors": lambda path: save_file({"a": torch.from_numpy(NUMBERS)}, path),
    "tokenizers": lambda path: Tokenizer(WordLevel({f"w{i}": i for i in range(10**5)}, unk_token="w0")).save(str(path)),
    "pyarrow": lambda path: pq.write_table(pa.table({"a": NUMBERS}), path),
    "sqlite": _insert,
    "torch": lambda path: torch.save({"a": torch.from_numpy(NUMBERS)}, path),
    "old torch": lambda path: torch.save({"a": NUMBERS}, path, _use_new_zipfile_serialization=False),
    "numpy": lambda path: np.save(path.with_suffix(".npy"), NUMBERS),
    "python": lambda path: path.write_bytes(NUMBERS.tobytes()),
}


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 512 KiB."""
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_told_whichever_library_writes(full_disk: Path, writer: str) -> None:
    def make(work: WorkDir) -> Metrics:
        WRITERS[writer](work.data / "large")
        return {}

    with pytest.raises(StorageError, match=rf"/{writer}: cannot be created: No space left on device.*\. Fix this, or "):
        produce("fill", Settings(), {}, full_disk / writer, make)
    assert beside(full_disk / writer) >= {f".{writer}.partial"}
    gc.collect()  # what torch was writing holds its room for as long as it is open
    produce("fill", Settings(), {}, full_disk / writer, double)
    verify(full_disk / writer)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EXDEV, errno.EDQUOT, errno.EROFS, errno.ELOOP])
def test_other_refusals_are_told_by_number_and_file(number: int) -> None:
    with pytest.raises(StorageError) as caught, disk_errors(Path("runs/x")):
        raise OSError(number, os.strerror(number), "runs/x/part")
    assert str(caught.value).startswith(f"runs/x: cannot be created: {os.strerror(number)} (runs/x/part). Fix this, or")


def test_the_file_that_rust_names_is_told() -> None:
    error = RuntimeError('Error while serializing: I/O error: Permission denied (os error 13) at path "/data/.tmp8"')
    assert refusal(error) == "Permission denied (/data/.tmp8)"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "x"),
        RuntimeError("I/O error: No such file or directory (os error 2)"),
        ValueError("No space left on device"),
        RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
        LarpoError("a server says: No space left on device (os error 28)"),
        DataError("has (os error 28)", path="p"),
    ],
)
def test_anything_else_is_left_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, disk_errors(Path("runs/x")):
        raise error
    assert caught.value is error


def test_a_link_to_nothing_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "gone")
    with pytest.raises(ArtifactError, match=r"out: is a link to .*gone, which does not exist\. Remove the link, or"):
        produce("double", Settings(), {}, tmp_path / "out", never)
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone").rmdir()
    (tmp_path / "out").unlink()
    produce("double", Settings(), {}, tmp_path / "out", double)


def test_a_directory_behind_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "gone")
    with pytest.raises(StorageError, match=r"runs/x: cannot be created: .*/runs is a link to .*/gone, which does not"):
        make_directory(tmp_path / "runs" / "x")


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/runs/part"), "refused", "No space left on device (/runs/p"),
        (OSError("100000 requested and 65520 written"), "refused", "worker process cannot go on: No space left on dev"),
        (ZeroDivisionError("by nothing"), "broke", "ZeroDivisionError: by nothing"),
        (KeyboardInterrupt(), "broke", "KeyboardInterrupt"),
    ],
)
def test_a_worker_tells_refusals_in_one_line(error: BaseException, kind: str, told: str) -> None:
    found, value = _told(error)
    assert found == kind
    assert told in (value[0] if kind == "refused" else value)
    if kind == "refused":
        assert "\n" not in value[0]


def test_a_worker_tells_whether_another_try_may_succeed() -> None:
    assert _told(EndpointError("away", status=503)) == ("refused", ("away.", True))
    assert _told(EndpointError("refused", status=400)) == ("refused", ("refused.", False))


def test_a_file_where_half_done_work_goes_is_told(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").write_text("mine", "utf-8")
    with pytest.raises(StorageError, match=r"\.out\.partial/.*: cannot be created: (Not a directory|File exists)"):
        produce("double", Settings(), {}, tmp_path / "out", never)
    assert (tmp_path / ".out.partial").read_text("utf-8") == "mine"


def _error_of_main(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_a_directory_that_was_deleted_below_the_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "argv", ["larpo", "--version"])
    told = "larpo: the working directory cannot be found: No such file or directory. Change to another directory.\n"
    assert _error_of_main(capsys) == told


def test_a_standard_output_that_is_full_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - to close it is refused too
    monkeypatch.setattr(sys, "stdout", full)
    monkeypatch.setattr(sys, "argv", ["larpo", "presets"])
    told = "larpo: a file, or standard output, was refused: No space left on device. Fix this and run it again.\n"
    assert _error_of_main(capsys) == told
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_a_reader_that_has_gone_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    gone = os.fdopen(writing, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", gone)
    monkeypatch.setattr(sys, "argv", ["larpo", "presets"])
    told = (
        "larpo: standard output was closed before all was written. Results are not shown, but artifacts are written.\n"
    )
    assert _error_of_main(capsys) == told
    with pytest.raises(BrokenPipeError):
        gone.close()


def test_streams_that_are_closed_are_replaced_before_a_file_takes_their_place(tmp_path: Path) -> None:
    """In a process of its own, whose standard input and output are closed."""
    assert forked(_open_file_without_streams, tmp_path, output=tmp_path / "log").wait() == 0
    told = "larpo: standard output is closed. Results are not shown, but artifacts are written.\n"
    assert (tmp_path / "log").read_text("utf-8") == told


def _open_file_without_streams(folder: Path) -> None:
    for descriptor in (0, 1):
        os.close(descriptor)
    sys.stdout = None  # type: ignore[assignment]  # as Python has it where it starts so
    _open_streams()
    with (folder / "kept").open("w", encoding="utf-8") as file:
        assert file.fileno() > 2
        os.write(1, b"what a library prints")
    assert (folder / "kept").read_bytes() == b""
