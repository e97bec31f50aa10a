"""Steps that read and write `s3://`, against moto's S3 server over HTTP."""

from pathlib import Path
from typing import Any

import pytest
from stored_artifacts import BUCKET, Settings, keys

from larpo_lib import storage
from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.errors import ArtifactError, HeldError


def test_local_paths_pass_through(tmp_path: Path) -> None:
    assert storage.fetch(str(tmp_path / "x"), tmp_path / "cache") == tmp_path / "x"
    with storage.localize({"a": "in/a"}, {"b": "out/b"}, tmp_path) as paths:
        assert paths == {"a": Path("in/a"), "b": Path("out/b")}
    assert list(tmp_path.iterdir()) == []


class Step:
    """Doubles a number, and counts how often it really worked."""

    def __init__(self) -> None:
        self.runs, self.fails = 0, False

    def __call__(self, config: Settings, *, source: Path, doubled: Path) -> Metrics:
        return produce("double", config, {"source": source}, doubled, lambda work: self.work(config, source, work))

    def work(self, config: Settings, source: Path, work: WorkDir) -> Metrics:
        self.runs += 1
        if self.fails:
            (work.scratch / "half").touch()
            raise RuntimeError
        (work.data / "number").write_text(str(config.value * int(source.read_text())))
        return {"resumed": (work.scratch / "half").exists()}


def test_step_reads_and_writes_remote_artifacts(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="number", Body=b"21")
    step, uris = Step(), ({"source": f"s3://{BUCKET}/number"}, {"doubled": f"s3://{BUCKET}/doubled"})
    for cache in ("here", "here", "on-another-machine"):
        with storage.localize(*uris, tmp_path / cache) as paths:
            step(Settings(value=2), **paths)
    assert step.runs == 1
    assert s3.get_object(Bucket=BUCKET, Key="doubled/number")["Body"].read() == b"42"
    with (
        pytest.raises(ArtifactError, match=r"made with config\.value"),
        storage.localize(*uris, tmp_path / "x") as paths,
    ):
        step(Settings(value=3), **paths)


def test_failed_step_publishes_nothing_and_goes_on_next_time(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="number", Body=b"2")
    step, uris = Step(), ({"source": f"s3://{BUCKET}/number"}, {"doubled": f"s3://{BUCKET}/doubled"})
    step.fails = True
    with pytest.raises(RuntimeError), storage.localize(*uris, tmp_path) as paths:
        step(Settings(), **paths)
    assert keys(s3) == {"number"}
    step.fails = False
    with storage.localize(*uris, tmp_path) as paths:
        assert step(Settings(), **paths) == {"resumed": True}
    assert "doubled/artifact.json" in keys(s3)


def test_of_two_machines_that_round_otherwise_the_slower_one_takes_what_is_there(s3: Any, tmp_path: Path) -> None:
    """Both make the same step; the bytes differ as those of two kinds of GPU do."""
    uri = f"s3://{BUCKET}/policy"

    def make(output: Path, weights: bytes) -> Metrics:
        def made(work: WorkDir) -> Metrics:
            (work.data / "weights").write_bytes(weights)
            return {"loss": float(len(weights))}

        return produce("train", Settings(), {}, output, made)

    def take(cache: str, weights: bytes) -> Metrics:
        with storage.localize({}, {"out": uri}, tmp_path / cache) as paths:
            if cache == "slower":
                take("faster", b"of the faster one")
            return make(paths["out"], weights)

    with pytest.raises(HeldError, match=r"policy: another process has made it meanwhile\. Run the same command again"):
        take("slower", b"mine")
    with storage.localize({}, {"out": uri}, tmp_path / "slower") as paths:
        assert make(paths["out"], b"never") == {"loss": 17.0}
        assert (paths["out"] / "weights").read_bytes() == b"of the faster one"
