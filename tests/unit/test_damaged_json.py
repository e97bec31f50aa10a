"""Small JSON files that a power cut or a bad disk has damaged: told by name, with what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from larpo_lib.api.runs import Promotion
from larpo_lib.errors import ArtifactError, LarpoError
from larpo_lib.files import read_json, write_json
from larpo_lib.models.model_dir import weight_files
from larpo_lib.models.published import write_older_keys
from larpo_lib.pipeline import files
from larpo_lib.pipeline.execute import _texts
from larpo_lib.playground.real import make_real_world
from larpo_lib.playground.world import make_world
from larpo_lib.registry import fetching
from larpo_lib.run_files import read_summary, run_key
from larpo_lib.steps.declarations import STEPS
from larpo_lib.studies.run import _last

READERS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "run": ("run.json", run_key, "Delete it, and run the same command again: the rest of the run is a new run"),
    "summary": ("summary.json", read_summary, "Delete it, and run the same command again, which writes it anew"),
    "promotion": ("promotion.json", Promotion.read, "Delete the artifact and make it again"),
    "world": ("world.json", lambda place: make_world(place, 0), "Delete this file, and run the same command again"),
    "real world": (
        "world.json",
        lambda place: make_real_world(place, 0, None),
        "Delete this file, and run the same command",
    ),
    "weights": ("model.safetensors.index.json", weight_files, ""),
    "model": ("config.json", write_older_keys, "Copy the model's files again from where they come from"),
    "decision": ("promotion.json", lambda place: _texts(Mock(step=STEPS["promote"]), place), "Delete the artifact"),
    "study": ("summary.json", _last, "Delete this file, and run the study again to continue it"),
    "pipeline": ("metrics.json", lambda place: files.read(str(place), "metrics.json"), "Run the step that writes it"),
}
DAMAGES = {"empty": b"", "zeros": bytes(64), "cut short": b'{"seed": 0, "run_k', "a list": b"[1]", "no UTF-8": b"\xff"}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_told_by_name_and_remedy_and_stays(tmp_path: Path, reader: str, damage: str) -> None:
    name, read, remedy = READERS[reader]
    (tmp_path / name).write_bytes(DAMAGES[damage])
    with pytest.raises(LarpoError) as caught:
        read(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / name}: ")
    assert "cannot be read: " in told
    assert remedy in told
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == DAMAGES[damage]


@pytest.mark.parametrize("damage", sorted(DAMAGES.keys() - {"a list"}))
def test_a_damaged_evaluation_of_a_version_is_told_by_model_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    (tmp_path / "file").write_bytes(DAMAGES[damage])
    monkeypatch.setattr(fetching, "fetch_version_file", lambda *_: tmp_path / "file")
    with pytest.raises(
        ArtifactError, match=r"^tiny version 3: a/b\.json cannot be read: .*\. Register the policy again"
    ):
        fetching.fetch_version_json("uri", "place", "a/b.json", "tiny version 3")


def test_a_summary_without_iterations_is_told(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", {"iterations": []})
    with pytest.raises(ArtifactError, match=r"summary\.json: has no iterations\. Delete this file, and run the study"):
        _last(tmp_path)


def test_a_file_that_is_whole_but_of_something_else_is_told(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"run_key": 1})
    with pytest.raises(ArtifactError, match=r"run\.json: has no run_key\. Delete it"):
        run_key(tmp_path)


def test_a_missing_file_and_one_that_is_nested_without_end_are_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"x\.json: cannot be read: No such file or directory\. Fetch it\."):
        read_json(tmp_path / "x.json", remedy="Fetch it")
    (tmp_path / "x.json").write_text('{"a": ' + "[" * 10**5, "utf-8")
    with pytest.raises(ArtifactError, match=r"x\.json: cannot be read: it is nested more than 100 levels deep"):
        read_json(tmp_path / "x.json", remedy="Fetch it")


def test_a_world_is_marked_as_whole_in_one_stroke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the rename there is no mark, and the world is made again."""

    def die(_self: Path, _target: Path) -> Path:
        raise InterruptedError

    monkeypatch.setattr(Path, "replace", die)
    for module in ("world", "real"):
        monkeypatch.setattr(f"larpo_lib.playground.{module}.write_json_lines", lambda *_: None)
    monkeypatch.setattr("larpo_lib.playground.world.make_policy", lambda *_: None)
    with pytest.raises(InterruptedError):
        make_world(tmp_path, 0)
    assert not (tmp_path / "world.json").exists()
