"""Checkpoints outside the step's scratch folder: in a directory, and in moto's S3."""

import shutil
from pathlib import Path

import pytest
import torch

from larpo_lib import storage
from larpo_lib.artifacts import WorkDir
from larpo_lib.errors import StorageError
from larpo_lib.storage import output_path
from larpo_lib.training.checkpoint_places import delete_checkpoints, own_place, places_of, record_place, whole_ones
from larpo_lib.training.checkpoints import CheckpointStore, save_checkpoint

BUCKET = "larpo-bucket"
HISTORY = [{"loss": 1.5, "step": 1.0}]
SCHEDULER = {"last_epoch": 4}


def _work(path, fingerprint="a" * 64, output=None):
    """Folders of a training on a machine of its own."""
    work = WorkDir(path / "data", path / "scratch", fingerprint, output=output)
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


def test_a_machine_with_another_path_of_the_output_goes_on_and_leaves_them(place, tmp_path, caplog):
    lost = tmp_path / "home-a" / "policy"
    _save(CheckpointStore(_work(tmp_path / "here", output=lost), place), 4)
    shutil.rmtree(tmp_path / "here")
    new = CheckpointStore(_work(tmp_path / "there", output=tmp_path / "home-b" / "policy"), place)
    found = new.latest()
    assert found is not None
    assert (found.step, found.read("weights/a").tolist()) == (4, [4.0, 4.0, 4.0])
    assert "goes on from step 4, which an equal training of another output has kept" in caplog.text
    other = CheckpointStore(_work(tmp_path / "again", output=lost), place)
    for step in (5, 6, 7):
        _save(other, step)
    assert found.read("weights/a").tolist() == [4.0, 4.0, 4.0]  # though the other one has removed it
    _save(new, 8)
    assert (new.latest().step, other.latest().step) == (8, 7)
    assert CheckpointStore(_work(tmp_path / "else", "b" * 64, output=lost), place).latest() is None


def test_checkpoints_of_another_training_are_not_taken(place, tmp_path):
    _save(CheckpointStore(_work(tmp_path / "one"), place), 4)
    assert CheckpointStore(_work(tmp_path / "other", "b" * 64), place).latest() is None


def test_none_is_left_at_the_end(place, tmp_path):
    checkpoints = CheckpointStore(_work(tmp_path / "here"), place)
    _save(checkpoints, 4)
    delete_checkpoints(own_place(place, "a" * 64, None))
    assert CheckpointStore(_work(tmp_path / "there"), place).latest() is None


def test_the_newest_two_are_kept_in_the_store(s3, tmp_path):
    checkpoints = CheckpointStore(_work(tmp_path / "here"), f"s3://{BUCKET}/kept")
    for step in (4, 8, 12):
        _save(checkpoints, step)
    names = ("checkpoint.json", "part-00000.safetensors")
    own = own_place("kept", "a" * 64, None)
    assert _keys(s3) == [f"{own}/step-{step:09d}/{name}" for step in (8, 12) for name in names]


def test_one_that_is_damaged_in_the_store_is_passed_over_and_removed(s3, tmp_path, caplog):
    place = f"s3://{BUCKET}/kept"
    checkpoints = CheckpointStore(_work(tmp_path / "here"), place)
    _save(checkpoints, 4)
    _save(checkpoints, 8)
    key = next(key for key in _keys(s3) if key.endswith("/step-000000008/part-00000.safetensors"))
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
    s3.put_object(
        Bucket=BUCKET, Key=f"{own_place('kept', 'a' * 64, None)}/step-000000008/part-00000.safetensors", Body=b"torn"
    )
    found = CheckpointStore(_work(tmp_path / "there"), place).latest()
    assert found is not None
    assert found.step == 4


def test_a_store_that_refuses_is_named(s3, tmp_path):
    checkpoints = CheckpointStore(_work(tmp_path / "here"), "s3://no-such-bucket/kept")
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/kept.*: no such bucket"):
        _save(checkpoints, 4)


def test_equal_trainings_of_two_outputs_leave_each_others_alone(place, tmp_path):
    """The second looks and saves while the first writes; then the first is published."""
    one, other = (
        CheckpointStore(_work(tmp_path / name, output=tmp_path / "runs" / name), place) for name in ("one", "other")
    )
    _save(one, 4)

    def tensors():
        yield "weights/a", torch.ones(2)
        assert other.latest().step == 4  # read, and left where it is
        _save(other, 8)
        yield "weights/b", torch.ones(2)

    one.save(8, tensors(), HISTORY, SCHEDULER)
    assert (one.latest().step, other.latest().step) == (8, 8)
    own = own_place(place, "a" * 64, tmp_path / "runs" / "one")
    delete_checkpoints(own)
    assert whole_ones(own) == []
    assert other.latest().read("weights/a").tolist() == [8.0, 8.0, 8.0]


def test_an_output_of_a_store_has_the_same_place_on_every_machine(monkeypatch, tmp_path):
    places = set()
    for machine in ("one", "two"):
        monkeypatch.setenv("LARPO_CACHE", str(tmp_path / machine))
        places.add(own_place("s3://bucket/kept", "a" * 64, output_path("s3://bucket/run/policy")))
    assert len(places) == 1
    assert own_place("s3://bucket/kept", "a" * 64, output_path("s3://bucket/run2/policy")) not in places


def test_what_an_earlier_version_kept_is_found(s3, place, tmp_path):
    """In a place of the fingerprint alone."""
    save_checkpoint(tmp_path / "old", 4, [("weights/a", torch.full((3,), 4.0))], HISTORY, SCHEDULER)
    if place.startswith("s3://"):
        storage.upload(tmp_path / "old" / "step-000000004", f"{place}{'a' * 16}/step-000000004", last="checkpoint.json")
    else:
        (tmp_path / "old").rename(Path(place).parent / "moved")
        Path(place).mkdir()
        (Path(place).parent / "moved").rename(Path(place) / ("a" * 16))
    found = CheckpointStore(_work(tmp_path / "here"), place).latest()
    assert (found.step, found.read("weights/a").tolist()) == (4, [4.0, 4.0, 4.0])


@pytest.mark.parametrize("first", [None, "directory", "s3"])
@pytest.mark.parametrize("second", [None, "directory", "s3"])
def test_another_place_goes_on_from_the_newest_at_any_place(s3, first, second, tmp_path):
    """Away and back: the newest is at the second place, then at the first one again."""
    work, places = _work(tmp_path / "here"), {"directory": str(tmp_path / "kept"), "s3": f"s3://{BUCKET}/kept"}
    places_in_turn = [places.get(first), places.get(second), places.get(first)]
    for number, place in enumerate(places_in_turn):
        found = CheckpointStore(work, place).latest()
        assert (found.step if found else 0) == 4 * number
        _save(CheckpointStore(work, place), 4 * (number + 1))


def test_one_line_tells_of_checkpoints_that_are_gone(tmp_path, caplog):
    work, place = _work(tmp_path / "here"), str(tmp_path / "kept")
    assert CheckpointStore(work, place).latest() is None
    assert caplog.text == ""
    _save(CheckpointStore(work, place), 4)
    shutil.rmtree(place)
    assert CheckpointStore(work, None).latest() is None
    gone = own_place(place, "a" * 64, None)
    assert caplog.messages == [f"{gone}: no checkpoint is left of those that were kept there; training begins anew"]


def test_the_place_before_that_cannot_be_read_any_more_is_told_of(s3, tmp_path, caplog):
    work = _work(tmp_path / "here")
    record_place(work.scratch, "s3://no-such-bucket/kept", None)
    assert CheckpointStore(work, str(tmp_path / "elsewhere")).latest() is None
    assert "checkpoints that were kept there are not looked for" in caplog.text


def test_the_disk_of_another_machine_holds_two_at_most(s3, tmp_path):
    place = f"s3://{BUCKET}/kept"
    here = CheckpointStore(_work(tmp_path / "here"), place)
    _save(here, 4)
    _save(here, 8)
    there = CheckpointStore(_work(tmp_path / "there"), place)
    assert there.latest().read("weights/a").tolist() == [8.0, 8.0, 8.0]
    there.release()
    for step in (12, 16, 20):
        _save(there, step)
        assert len(list((tmp_path / "there").rglob("*.safetensors"))) <= 2
    assert there.latest().step == 20


def test_the_places_of_half_done_work_are_known_beside_its_output(tmp_path):
    output = tmp_path / "policy"
    scratch = tmp_path / ".policy.partial" / "aaaa-token" / "scratch"
    work = WorkDir(scratch.parent / "data", scratch, "a" * 64, output=output)
    assert places_of(output) == {}
    _save(CheckpointStore(work, str(tmp_path / "kept")), 4)
    assert places_of(output) == {own_place(str(tmp_path / "kept"), "a" * 64, output): str(output)}


def test_what_an_earlier_version_has_noted_of_places_is_read(tmp_path):
    scratch = tmp_path / ".policy.partial" / "aaaa-token" / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "checkpoint-places.json").write_text('{"places": ["s3://b/two", "s3://b/one"]}')
    assert places_of(tmp_path / "policy") == {"s3://b/two": "", "s3://b/one": ""}
    record_place(scratch, "s3://b/three", tmp_path / "policy")
    assert [*places_of(tmp_path / "policy")] == ["s3://b/two", "s3://b/one", "s3://b/three"]


def test_a_copy_that_finds_its_origins_damaged_leaves_them(tmp_path):
    """They may only look so from where the copy is."""
    place, works = str(tmp_path / "kept"), []
    for name in ("origin", "copy"):
        scratch = tmp_path / name / ".policy.partial" / "aaaa-token" / "scratch"
        works.append(WorkDir(scratch.parent / "data", scratch, "a" * 64, output=tmp_path / name / "policy"))
    _save(CheckpointStore(works[0], place), 4)
    shutil.copytree(tmp_path / "origin", tmp_path / "copy")
    copied = CheckpointStore(works[1], place)
    assert copied.latest().step == 4
    (file,) = Path(place).rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert copied.latest() is None
    assert file.exists()
    assert CheckpointStore(works[0], place).latest() is None  # it removes its own
    assert not file.exists()
