"""Checkpoints outside the step's scratch folder: in a directory, and in moto's S3."""

import shutil

import pytest
import torch

from larpo_lib.artifacts import WorkDir
from larpo_lib.errors import StorageError
from larpo_lib.training.checkpoints import CheckpointStore, delete_checkpoints

BUCKET = "larpo-bucket"
HISTORY = [{"loss": 1.5, "step": 1.0}]
SCHEDULER = {"last_epoch": 4}


def _work(path, fingerprint="a" * 64):
    work = WorkDir(path / "data", path / "scratch", fingerprint)
    work.scratch.mkdir(parents=True)
    return work


def _save(checkpoints, step):
    checkpoints.save(step, [("weights/a", torch.full((3,), float(step)))], HISTORY, SCHEDULER)


def _keys(s3):
    return sorted(item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []))


@pytest.fixture(params=["directory", "s3"])
def place(request, s3, tmp_path):
    return str(tmp_path / "kept") if request.param == "directory" else f"s3://{BUCKET}/kept/"


def test_another_machine_goes_on_from_the_newest(place, tmp_path):
    here = CheckpointStore(_work(tmp_path / "here"), place)
    assert here.latest() is None
    _save(here, 4)
    _save(here, 8)
    shutil.rmtree(tmp_path / "here")
    found = CheckpointStore(_work(tmp_path / "there"), place).latest()
    assert found is not None
    assert (found.step, found.history, found.scheduler) == (8, HISTORY, SCHEDULER)
    assert found.read("weights/a").tolist() == [8.0, 8.0, 8.0]


def test_checkpoints_of_another_training_are_not_taken(place, tmp_path):
    _save(CheckpointStore(_work(tmp_path / "one"), place), 4)
    assert CheckpointStore(_work(tmp_path / "other", "b" * 64), place).latest() is None


def test_none_is_left_at_the_end(place, tmp_path):
    checkpoints = CheckpointStore(_work(tmp_path / "here"), place)
    _save(checkpoints, 4)
    delete_checkpoints(place, "a" * 64)
    assert CheckpointStore(_work(tmp_path / "there"), place).latest() is None


def test_the_newest_two_are_kept_in_the_store(s3, tmp_path):
    checkpoints = CheckpointStore(_work(tmp_path / "here"), f"s3://{BUCKET}/kept")
    for step in (4, 8, 12):
        _save(checkpoints, step)
    names = ("checkpoint.json", "part-00000.safetensors")
    assert _keys(s3) == [f"kept/{'a' * 16}/step-{step:09d}/{name}" for step in (8, 12) for name in names]


def test_one_that_is_damaged_in_the_store_is_passed_over_and_removed(s3, tmp_path, caplog):
    place = f"s3://{BUCKET}/kept"
    checkpoints = CheckpointStore(_work(tmp_path / "here"), place)
    _save(checkpoints, 4)
    _save(checkpoints, 8)
    key = f"kept/{'a' * 16}/step-000000008/part-00000.safetensors"
    data = bytearray(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    data[-1] ^= 1
    s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(data))
    found = CheckpointStore(_work(tmp_path / "there"), place).latest()
    assert found is not None
    assert (found.step, found.read("weights/a").tolist()) == (4, [4.0, 4.0, 4.0])
    assert "step-000000008/part-00000.safetensors: is missing or differs from its checksum; this" in caplog.text
    assert not any("step-000000008" in key for key in _keys(s3))


def test_one_that_is_damaged_here_is_fetched_from_the_store(s3, tmp_path):
    place = f"s3://{BUCKET}/kept"
    checkpoints = CheckpointStore(_work(tmp_path / "here"), place)
    _save(checkpoints, 4)
    _save(checkpoints, 8)

    def damage(folder):
        for path in (tmp_path / "here" / "scratch" / folder).rglob("step-000000008/*.safetensors"):
            path.write_bytes(path.read_bytes()[:-1])

    for folder in ("checkpoints", "fetched"):  # and then what was fetched
        damage(folder)
        found = checkpoints.latest()
        assert found is not None
        assert (found.step, found.read("weights/a").tolist()) == (8, [8.0, 8.0, 8.0])


def test_a_half_uploaded_one_is_passed_over(s3, tmp_path):
    """Its index would have been uploaded last."""
    place = f"s3://{BUCKET}/kept"
    _save(CheckpointStore(_work(tmp_path / "here"), place), 4)
    s3.put_object(Bucket=BUCKET, Key=f"kept/{'a' * 16}/step-000000008/part-00000.safetensors", Body=b"torn")
    found = CheckpointStore(_work(tmp_path / "there"), place).latest()
    assert found is not None
    assert found.step == 4


def test_a_store_that_refuses_is_named(s3, tmp_path):
    checkpoints = CheckpointStore(_work(tmp_path / "here"), "s3://no-such-bucket/kept")
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/kept.*: no such bucket"):
        _save(checkpoints, 4)
