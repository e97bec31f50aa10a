"""Checkpoints in one directory; `test_checkpoint_places.py` has them elsewhere."""

import json
import shutil
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_lists import Killed

from larpo_lib.artifacts import WorkDir
from larpo_lib.training import checkpoints
from larpo_lib.training.checkpoint_places import delete_checkpoints, own_place
from larpo_lib.training.checkpoints import CheckpointStore, latest_checkpoint, save_checkpoint

HISTORY = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 1e-300}]
SCHEDULER = {"last_epoch": 2, "_last_lr": [1e-3, 0.1 + 0.2]}


def _tensors(step):
    """A matrix, a tensor in another order than it is stored in, and a single number."""
    generator = torch.Generator().manual_seed(step)
    matrix = torch.randn(3, 4, generator=generator)
    return {"weights/a": matrix, "exp_avg/a": matrix.T, "weights/b": torch.tensor(float(step))}


def _save(directory, step):
    return save_checkpoint(directory, step, iter(_tensors(step).items()), HISTORY, SCHEDULER)


def _assert_whole(found, step):
    assert found is not None
    assert (found.step, found.history, found.scheduler) == (step, HISTORY, SCHEDULER)
    assert found.files.keys() == _tensors(step).keys()
    for name, tensor in _tensors(step).items():
        assert torch.equal(found.read(name), tensor)


def test_what_was_saved_is_read_back(tmp_path):
    place = tmp_path / "not" / "yet"
    assert latest_checkpoint(place) is None
    assert _save(place, 2) == place / "step-000000002"
    _assert_whole(latest_checkpoint(place), 2)


def _steps(directory):
    return sorted(int(path.name.removeprefix("step-")) for path in directory.iterdir())


def test_the_newest_and_the_one_before_are_kept(tmp_path):
    steps = [999, 1000, 1001, 10**8]
    for done, step in enumerate(steps, start=1):
        _save(tmp_path, step)
        assert _steps(tmp_path) == steps[max(0, done - 2) : done]
        _assert_whole(latest_checkpoint(tmp_path), step)


def _flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _change_a_digit(path):
    path.write_text(path.read_text("utf-8").replace('"last_epoch": 2', '"last_epoch": 3'), "utf-8")


DAMAGES = {
    "a flipped bit of a tensor": ("part-00000.safetensors", _flip_a_bit),
    "a tensor file cut short": ("part-00000.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "an empty tensor file": ("part-00000.safetensors", lambda path: path.write_bytes(b"")),
    "a missing tensor file": ("part-00000.safetensors", Path.unlink),
    "an index of zeros": ("checkpoint.json", lambda path: path.write_bytes(bytes(100))),
    "an index cut short": ("checkpoint.json", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "another number in the index": ("checkpoint.json", _change_a_digit),
    "a list as the index": ("checkpoint.json", lambda path: path.write_text("[1]", "utf-8")),
    "a missing index": ("checkpoint.json", Path.unlink),
}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    _save(directory, 2)
    _save(directory, 4)
    return directory


@pytest.mark.parametrize("damage", DAMAGES)
def test_instead_of_a_damaged_one_the_one_before_is_used(two, tmp_path, caplog, damage):
    place = shutil.copytree(two, tmp_path / "kept")
    name, act = DAMAGES[damage]
    act(place / "step-000000004" / name)
    _assert_whole(latest_checkpoint(place), 2)
    (told,) = caplog.messages
    assert told.startswith(f"{place}/step-000000004/{name}: ")
    assert told.endswith("this checkpoint is removed, and the one before it is used, if there is one")
    _save(place, 4)  # and the training goes on
    assert _steps(place) == [2, 4]
    _assert_whole(latest_checkpoint(place), 4)


def test_of_damaged_ones_none_is_used(two, tmp_path):
    place = shutil.copytree(two, tmp_path / "kept")
    for path in place.glob("*/*.safetensors"):
        _flip_a_bit(path)
    assert latest_checkpoint(place) is None
    assert _steps(place) == []


def test_the_one_before_goes_only_when_the_newest_is_sound(two, tmp_path):
    """Damaged while the training went on: found before the next one is written, so that a sound one is always there."""
    place = shutil.copytree(two, tmp_path / "kept")
    _flip_a_bit(place / "step-000000004" / "part-00000.safetensors")
    _save(place, 6)
    assert _steps(place) == [2, 6]
    shutil.rmtree(place / "step-000000006")
    _assert_whole(latest_checkpoint(place), 2)


def test_half_written_ones_are_removed_and_the_whole_one_before_is_found(tmp_path):
    _save(tmp_path, 2)
    shutil.copytree(tmp_path / "step-000000002", tmp_path / ".step-000000004")
    (tmp_path / ".step-000000004" / "checkpoint.json").unlink()
    _assert_whole(latest_checkpoint(tmp_path), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000002"]


def test_large_states_are_written_in_several_files(tmp_path, monkeypatch):
    """A file is full as soon as it holds so many bytes; one tensor of 48, one of 48 and one of 4."""
    for limit, sizes in ((1, [1, 1, 1]), (49, [2, 1]), (1000, [3])):
        monkeypatch.setattr(checkpoints, "_FILE_BYTES", limit)
        whole = _save(tmp_path / str(limit), 2)
        assert [len(load_file(path)) for path in sorted(whole.glob("*.safetensors"))] == sizes
        _assert_whole(latest_checkpoint(tmp_path / str(limit)), 2)


def test_tensors_are_taken_one_file_at_a_time(tmp_path, monkeypatch):
    """They need not fit into memory together."""
    monkeypatch.setattr(checkpoints, "_FILE_BYTES", 1)
    written = []

    def tensors():
        for number in range(3):
            written.append(len(list(tmp_path.rglob("*.safetensors"))))
            yield f"weights/{number}", torch.zeros(2)

    save_checkpoint(tmp_path, 1, tensors(), HISTORY, SCHEDULER)
    assert written == [0, 1, 2]


def test_nothing_in_a_checkpoint_can_run_code(tmp_path):
    """Only safetensors and JSON: reading one from a shared place is safe, which unpickling is not."""
    whole = _save(tmp_path, 2)
    assert {path.suffix for path in whole.iterdir()} == {".safetensors", ".json"}
    for path in whole.glob("*.safetensors"):
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert {"weights/a", "exp_avg/a", "weights/b"} <= header.keys()
    json.loads((whole / "checkpoint.json").read_text("utf-8"))


class _Death:
    """Ends the process before the given one of the calls that change files."""

    def __init__(self, monkeypatch, last):
        self._last = last
        self._calls = count()
        for place, name in (
            (checkpoints, "save_file"),
            (checkpoints, "sync"),
            (checkpoints, "write_json"),
            (Path, "mkdir"),
            (Path, "rename"),
            (Path, "unlink"),
            (shutil, "rmtree"),
        ):
            monkeypatch.setattr(place, name, self._mortal(getattr(place, name)))
        monkeypatch.setattr(shutil, "rmtree", self._file_by_file)

    def _mortal(self, function):
        def called(*arguments, **options):
            if next(self._calls) == self._last:
                raise Killed
            return function(*arguments, **options)

        return called

    def _file_by_file(self, directory, **_options):
        """What `shutil.rmtree` does, as slowly as it may."""
        if Path(directory).is_dir():
            for path in sorted(Path(directory).iterdir()):
                self._file_by_file(path) if path.is_dir() else path.unlink()
            self._mortal(Path.rmdir)(Path(directory))


def _dies(monkeypatch, last, act):
    """Whether `act` dies before its call number `last`; it has fewer if not."""
    with monkeypatch.context() as patch:
        _Death(patch, last)
        try:
            act()
        except Killed:
            return True
    return False


def test_killed_at_any_moment_of_saving_a_whole_one_is_left(tmp_path, monkeypatch):
    moments = 0
    while True:
        place = tmp_path / str(moments)
        _save(place, 1)
        _save(place, 2)
        if not _dies(monkeypatch, moments, lambda place=place: _save(place, 4)):
            break
        found = latest_checkpoint(place)
        _assert_whole(found, found.step)
        assert found.step in (2, 4)
        _save(place, 6)  # and the training goes on
        assert _steps(place) == [found.step, 6]
        moments += 1
    assert moments > 8


def test_killed_at_any_moment_of_clearing_a_whole_one_is_left_or_none(tmp_path, monkeypatch):
    moments = 0
    while True:
        place = tmp_path / str(moments)
        checkpoints_there = CheckpointStore(WorkDir(place / "data", place / "scratch", "0" * 64), str(place))
        checkpoints_there.save(2, iter(_tensors(2).items()), HISTORY, SCHEDULER)
        if not _dies(monkeypatch, moments, partial(delete_checkpoints, own_place(str(place), "0" * 64, None))):
            break
        found = checkpoints_there.latest()
        if found is not None:
            _assert_whole(found, 2)
        moments += 1
    assert moments > 3
    assert checkpoints_there.latest() is None
