from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from larpo_lib import artifacts
from larpo_lib.artifacts import Metrics, Work, digest, produce, read_manifest, read_metrics, verify, write_json
from larpo_lib.errors import ArtifactError, DataError, LarpoError, StorageError


class OneSetting(BaseModel):
    value: int = 1


class Settings(OneSetting):
    inner: dict[str, int] = {}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("source", "utf-8")
    return path


def double(work: Work) -> Metrics:
    (work.data / "deep").mkdir()
    (work.data / "deep" / "number.txt").write_text("2", "utf-8")
    (work.data / "text.txt").write_text("two", "utf-8")
    return {"rows": 2, "share": 0.5, "undefined": None}


def never(work: Work) -> Metrics:
    raise AssertionError("this work was done already")


def content(directory: Path) -> dict[str, bytes]:
    found = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def beside(output: Path) -> set[str]:
    return {path.name for path in output.parent.iterdir()} - {f".{output.name}.lock", "source.txt"}


def test_artifact_holds_data_metrics_and_manifest(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "new" / "out"
    metrics = produce("double", Settings(value=2), {"source": source}, output, double, arguments={"iteration": 3})
    assert metrics == read_metrics(output) == {"rows": 2, "share": 0.5, "undefined": None}
    assert set(content(output)) == {"artifact.json", "metrics.json", "text.txt", "deep/number.txt"}
    manifest = read_manifest(output)
    assert (manifest["step"], manifest["config"]) == ("double", {"value": 2, "inner": {}})
    assert manifest["arguments"] == {"iteration": 3}
    assert manifest["inputs"] == {"source": digest(source)}
    assert manifest["files"]["deep/number.txt"]["bytes"] == 1
    assert manifest["libraries"].keys() >= {"torch", "pyarrow"}
    assert beside(output) == {"out"}
    verify(output)


def test_same_work_elsewhere_gives_the_same_bytes(tmp_path: Path, source: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "copy.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(source.read_bytes())
    produce("double", Settings(), {"source": source}, tmp_path / "a", double)
    produce("double", Settings(), {"source": elsewhere}, tmp_path / "b", double)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_finished_work_is_not_done_again(tmp_path: Path, source: Path) -> None:
    metrics = produce("double", Settings(), {"source": source}, tmp_path / "out", double)
    before = content(tmp_path / "out")
    assert produce("double", Settings(), {"source": source}, tmp_path / "out", never) == metrics
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("step", "settings", "text", "arguments", "difference"),
    [
        ("double", Settings(value=5), "source", {}, "made with config.value 1 instead of 5"),
        ("double", Settings(inner={"a": 1}), "source", {}, "made with config.inner.a null instead of 1"),
        ("double", Settings(), "other", {}, "made with inputs.source"),
        ("triple", Settings(), "source", {}, 'made with step "double" instead of "triple"'),
        ("double", Settings(), "source", {"iteration": 1}, "made with arguments.iteration null instead of 1"),
    ],
)
def test_artifact_made_otherwise_is_refused_and_kept(
    tmp_path: Path, source: Path, step: str, settings: Settings, text: str, arguments: dict[str, int], difference: str
) -> None:
    produce("double", Settings(), {"source": source}, tmp_path / "out", double)
    before = content(tmp_path / "out")
    source.write_text(text, "utf-8")
    with pytest.raises(ArtifactError) as caught:
        produce(step, settings, {"source": source}, tmp_path / "out", never, arguments=arguments)
    assert difference in str(caught.value)
    assert "Choose another output, or delete this one" in str(caught.value)
    assert content(tmp_path / "out") == before


def test_other_code_makes_another_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    monkeypatch.setattr(artifacts, "__version__", "0.0.1.dev")
    with pytest.raises(ArtifactError, match=r'made with code "[^"]+" instead of "0\.0\.1\.dev"'):
        produce("double", Settings(), {}, tmp_path / "out", never)


def test_many_differences_are_cut_short(tmp_path: Path) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    other = Settings(value=2, inner=dict.fromkeys("abcdef", 1))
    with pytest.raises(ArtifactError) as caught:
        produce("double", other, {}, tmp_path / "out", never)
    assert str(caught.value).count("instead of") == 3


def test_foreign_directory_or_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear", "utf-8")
    with pytest.raises(ArtifactError, match=r"mine: is not an artifact \(it has no artifact\.json\)\. Give"):
        produce("double", Settings(), {}, tmp_path / "mine", never)
    with pytest.raises(ArtifactError, match="letter: is not an artifact"):
        produce("double", Settings(), {}, tmp_path / "mine" / "letter", never)
    assert content(tmp_path / "mine") == {"letter": b"dear", ".letter.lock": b""}


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, lambda: DataError("x", path="y")])
def test_error_leaves_no_output_and_partial_results_stay(tmp_path: Path, failure: Callable[[], BaseException]) -> None:
    def fail(work: Work) -> Metrics:
        (work.data / "half").touch()
        (work.scratch / "part-0").write_text("done", "utf-8")
        raise failure()

    with pytest.raises((ZeroDivisionError, KeyboardInterrupt, DataError)):
        produce("double", Settings(), {}, tmp_path / "out", fail)
    assert beside(tmp_path / "out") == {".out.partial"}

    def go_on(work: Work) -> Metrics:
        assert (work.scratch / "part-0").read_text("utf-8") == "done"
        assert list(work.data.iterdir()) == []
        return double(work)

    produce("double", Settings(), {}, tmp_path / "out", go_on)
    assert beside(tmp_path / "out") == {"out"}
    produce("double", Settings(), {}, tmp_path / "fresh", double)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_partial_results_of_other_settings_are_not_used(tmp_path: Path) -> None:
    def fail(work: Work) -> Metrics:
        (work.scratch / "part-0").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        produce("double", Settings(value=1), {}, tmp_path / "out", fail)

    def check(work: Work) -> Metrics:
        assert list(work.scratch.iterdir()) == []
        assert len(list(work.data.parent.parent.iterdir())) == 1
        return double(work)

    produce("double", Settings(value=2), {}, tmp_path / "out", check)


KILLED = """
import os, signal, sys
from pathlib import Path
from pydantic import BaseModel
from larpo_lib import artifacts

class Settings(BaseModel):
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
    artifacts.os.fsync = lambda descriptor: kill()
if place == "before the rename":
    Path.rename = kill
if place == "after the rename":
    rename = Path.rename
    Path.rename = lambda self, target: (rename(self, target), kill())
if place == "before the cleanup":
    remove = artifacts.shutil.rmtree
    artifacts.shutil.rmtree = lambda path, **options: kill() if output.exists() else remove(path, **options)
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

    def make(work: Work) -> Metrics:
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
    assert second.stdout == (
        f"ArtifactError {tmp_path / 'out'}: another process is making it. Wait for it, or choose another output.\n"
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
    def fill(work: Work) -> Metrics:
        if not (work.scratch / "part-0").exists():
            (work.scratch / "part-0").write_bytes(bytes(8192))
        (work.data / "large").write_bytes(bytes(1 << 20))
        return {}

    with pytest.raises(StorageError, match=r"out: cannot be made: No space left on device.*\. .* goes on where it"):
        produce("fill", Settings(), {}, small_disk / "out", fill)
    assert not (small_disk / "out").exists()
    parts = list((small_disk / ".out.partial").glob("*/scratch/part-0"))
    assert [part.stat().st_size for part in parts] == [8192]

    def less(work: Work) -> Metrics:
        assert (work.scratch / "part-0").stat().st_size == 8192
        (work.data / "small").write_bytes(b"1")
        return {}

    produce("fill", Settings(), {}, small_disk / "out", less)
    verify(small_disk / "out")


def test_disk_that_fills_up_while_publishing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(artifacts.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        produce("double", Settings(), {}, tmp_path / "out", double)
    assert beside(tmp_path / "out") == {".out.partial"}
    monkeypatch.undo()
    produce("double", Settings(), {}, tmp_path / "out", double)
    verify(tmp_path / "out")


@pytest.mark.parametrize("below", ["out", "deeper/out"])
def test_output_below_a_file_is_told(source: Path, below: str) -> None:
    with pytest.raises(StorageError, match=r"source\.txt.*: cannot be made: .*\. Choose another directory"):
        produce("double", Settings(), {}, source / below, never)


def test_refused_access_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: Work) -> Metrics:
        raise PermissionError(13, os.strerror(13), str(work.data / "x"))

    with pytest.raises(StorageError, match=r"out: cannot be made: Permission denied \(.*/data/x\)"):
        produce("double", Settings(), {}, tmp_path / "out", refuse)


def test_other_operating_system_errors_are_no_fault_of_the_users(tmp_path: Path) -> None:
    def bug(work: Work) -> Metrics:
        (work.data / "nothing").read_bytes()
        return {}

    with pytest.raises(FileNotFoundError):
        produce("double", Settings(), {}, tmp_path / "out", bug)


@pytest.mark.parametrize("name", ["deep/number.txt", "metrics.json"])
def test_flipped_bit_and_missing_file_are_found(tmp_path: Path, name: str) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    file = tmp_path / "out" / name
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(ArtifactError, match=rf"{name}: is missing or differs from its checksum\. Delete the artifact"):
        verify(tmp_path / "out")
    file.unlink()
    with pytest.raises(ArtifactError, match=f"{name}: is missing"):
        verify(tmp_path / "out")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"{", r"artifact\.json: cannot be read"),
        (b"\xff", r"artifact\.json: cannot be read"),
        (b"[]", r"artifact\.json: cannot be read: it holds no JSON object\. Delete the artifact"),
        (b'{"version": 1}', r"artifact\.json: is no manifest"),
        (b'{"version": 99}', r"format version 99, but this larpo reads version 1\. Make the artifact again"),
    ],
)
def test_damaged_manifest_is_told(tmp_path: Path, manifest: bytes, message: str) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    (tmp_path / "out" / "artifact.json").write_bytes(manifest)
    readers: list[Callable[[], object]] = [
        lambda: verify(tmp_path / "out"),
        lambda: digest(tmp_path / "out"),
        lambda: produce("double", Settings(), {}, tmp_path / "out", never),
        lambda: produce("next", Settings(), {"source": tmp_path / "out"}, tmp_path / "next", never),
    ]
    for read in readers:
        with pytest.raises(ArtifactError, match=message):
            read()


@pytest.mark.parametrize(
    ("metrics", "problem"), [(None, "cannot be"), (b"{", "cannot be read"), (b"\xff", "cannot be")]
)
def test_damaged_metrics_are_told(tmp_path: Path, metrics: bytes | None, problem: str) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    (tmp_path / "out" / "metrics.json").unlink()
    if metrics is not None:
        (tmp_path / "out" / "metrics.json").write_bytes(metrics)
    with pytest.raises(ArtifactError, match=rf"metrics\.json: {problem}.*\. Delete the artifact"):
        produce("double", Settings(), {}, tmp_path / "out", never)


def test_digest_is_of_content_and_names(tmp_path: Path) -> None:
    for name, text in (("a/one", "1"), ("a/deep/two", "2"), ("same/deep/two", "2"), ("same/one", "1")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    before = digest(tmp_path / "a")
    assert digest(tmp_path / "same") == before
    assert digest(tmp_path / "a" / "one") != digest(tmp_path / "a" / "deep" / "two")
    (tmp_path / "same" / "one").rename(tmp_path / "same" / "renamed")
    assert digest(tmp_path / "same") != before
    (tmp_path / "a" / "one").write_text("changed", "utf-8")
    assert digest(tmp_path / "a") != before


def test_digest_of_an_artifact_is_of_its_data_and_not_of_how_it_was_made(tmp_path: Path) -> None:
    produce("double", Settings(value=1), {}, tmp_path / "a", double)
    produce("double", Settings(value=2), {}, tmp_path / "b", double)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_missing_input_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere: no such file or directory\. Run the step that makes it first"):
        produce("double", Settings(), {"source": tmp_path / "nowhere"}, tmp_path / "new" / "out", never)
    assert not (tmp_path / "new").exists()


def test_metrics_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        produce("double", Settings(), {}, tmp_path / "out", lambda _work: {"loss": float("nan")})
    assert not (tmp_path / "out").exists()


def test_json_file_is_the_old_or_the_new_one_whenever_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"text": "ö" * 1000})
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(len(json.loads(path.read_text("utf-8"))["text"]))

    reader = threading.Thread(target=read)
    reader.start()
    for length in range(1000, 1100):
        write_json(path, {"text": "ö" * length})
    done.set()
    reader.join()
    assert seen <= set(range(1000, 1100))
    assert seen
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_json_of_one_value_is_one_text(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ö"})
    write_json(tmp_path / "b.json", {"a": "ö", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "a": "ö",\n  "b": 1\n}\n'


def test_errors_of_the_user_pass_as_they_are(tmp_path: Path) -> None:
    def fail(_work: Work) -> Metrics:
        raise LarpoError("no list is left")

    with pytest.raises(LarpoError, match=r"^no list is left\.$"):
        produce("double", Settings(), {}, tmp_path / "out", fail)
