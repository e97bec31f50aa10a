"""Inputs and half-done work whose bytes have changed: told or made again, never used."""

import json
import os
import shutil
from pathlib import Path

import pytest
from small_artifacts import Settings, double, never

from larpo_lib import checksums
from larpo_lib.artifacts import Metrics, WorkDir, produce, read_metrics, verify
from larpo_lib.errors import ArtifactError

LARGE = "deep/model.safetensors"
"""Large enough that its checksum is remembered."""


def make(work: WorkDir) -> Metrics:
    metrics = double(work)
    (work.data / LARGE).write_bytes(os.urandom(1024) * 1100)
    (work.data / "config.json").write_text('{"rope_theta": 10000.0}', "utf-8")
    return metrics


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An artifact that was made some time ago."""
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    produce("double", Settings(), {}, tmp_path / "source", make, arguments={"pair": (1, 2), "rate": 1e-05})
    for file in (tmp_path / "source").rglob("*"):
        _age(file)
    return tmp_path / "source"


def _age(file: Path, seconds: int = 60) -> None:
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * 10**9))


def _flip(file: Path, place: int = -3) -> None:
    """Another bit on the disk; the clock's resolution hides nothing, as the time is set."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    with file.open("r+b") as there:
        there.write(data)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed."""
    names: list[str] = []
    real = checksums.file_digest

    def count(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(checksums, "file_digest", count)
    return names


@pytest.mark.parametrize("name", [LARGE, "config.json", "metrics.json", "text.txt"])
@pytest.mark.parametrize("seen", [False, True], ids=["new", "seen before"])
def test_a_flipped_bit_in_an_input_is_told_before_any_work(tmp_path: Path, source: Path, name: str, seen: bool) -> None:
    if seen:
        produce("before", Settings(), {"policy": source}, tmp_path / "before", double)
    _flip(source / name)
    with pytest.raises(ArtifactError) as caught:
        produce("next", Settings(), {"policy": source}, tmp_path / "next", never)
    problem = f"{source / name}: is missing or differs from its checksum. Delete the artifact and make it again."
    assert str(caught.value) == problem
    assert not (tmp_path / "next").exists()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("config", "value", 3),
        ("arguments", "rate", 2e-05),
        ("step", None, "dooble"),
        ("fingerprint", None, "0" * 64),
        ("files", "config.json", {"sha256": "0" * 64, "bytes": 23}),
        ("files", "config.json", {"sha256": "SAME", "bytes": 24}),
        ("files", "config.json", {"sha257": "0" * 64}),
        ("files", "config.json", 3),
    ],
)
def test_a_manifest_that_was_changed_is_told(
    tmp_path: Path, source: Path, section: str, key: str | None, value: object
) -> None:
    path = source / "artifact.json"
    manifest = json.loads(path.read_text("utf-8"))
    if isinstance(value, dict) and value.get("sha256") == "SAME":
        value["sha256"] = manifest["files"]["config.json"]["sha256"]
    if key is None:
        manifest[section] = value
    else:
        manifest[section][key] = value
    path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ArtifactError, match=r"source/(artifact|config)\.json: .*\. Delete the artifact and make it ag"):
        produce("next", Settings(), {"policy": source}, tmp_path / "next", never)


def test_changed_metrics_of_what_is_made_are_told(source: Path) -> None:
    """The loop ends and promotes by them."""
    (source / "metrics.json").write_text('{"rows": 3}\n', "utf-8")
    with pytest.raises(ArtifactError, match=r"metrics\.json: is missing or differs from its checksum\. Delete"):
        read_metrics(source)


def test_a_base_of_adapters_is_verified_too(tmp_path: Path, source: Path) -> None:
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(source)}
    (adapters / "adapter_config.json").write_text(json.dumps(settings), "utf-8")
    (adapters / "adapter_model.safetensors").touch()
    _flip(source / LARGE)
    with pytest.raises(ArtifactError, match=r"model\.safetensors: is missing or differs"):
        produce("next", Settings(), {"policy": adapters}, tmp_path / "next", never)


def test_a_large_file_is_read_once_for_as_long_as_it_stays_as_it_is(
    tmp_path: Path, source: Path, hashed: list[str]
) -> None:
    for name in ("one", "two"):
        produce("next", Settings(), {"policy": source}, tmp_path / name, double)
    assert hashed.count("model.safetensors") == 1
    assert hashed.count("config.json") == 2  # a small one is hashed sooner than it is looked up
    _age(source / LARGE)
    verify(source)
    assert hashed.count("model.safetensors") == 2
    shutil.copy2(source / LARGE, tmp_path / "copy")  # size and time are the same
    (tmp_path / "copy").replace(source / LARGE)
    verify(source)
    assert hashed.count("model.safetensors") == 3


def test_a_file_that_was_just_written_is_not_taken_for_known(source: Path, hashed: list[str]) -> None:
    """It may change again within one tick of the clock, as git says of its index."""
    (source / LARGE).touch()
    verify(source)
    verify(source)
    assert hashed.count("model.safetensors") == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"deep/model.safetensors": 3}', None])
def test_without_its_memory_it_is_read_again(
    source: Path, hashed: list[str], tmp_path: Path, damage: str | None
) -> None:
    verify(source)
    (memory,) = (tmp_path / "cache" / "checksums").iterdir()
    if damage is None:
        shutil.rmtree(tmp_path / "cache")
        (tmp_path / "cache").touch()  # a cache that cannot be written
    else:
        memory.write_text(damage, "utf-8")
    verify(source)
    assert hashed.count("model.safetensors") == 2
