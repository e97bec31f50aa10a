"""Checkpoints outside the step's scratch folder: in a directory, and in moto's S3."""

from __future__ import annotations

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


def test_only_the_newest_is_kept_in_the_store(s3, tmp_path):
    checkpoints = CheckpointStore(_work(tmp_path / "here"), f"s3://{BUCKET}/kept")
    _save(checkpoints, 4)
    _save(checkpoints, 8)
    prefix = f"kept/{'a' * 16}/step-000000008"
    assert _keys(s3) == [f"{prefix}/checkpoint.json", f"{prefix}/part-00000.safetensors"]


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
