"""A study whose files, or whose version of larpo, change while some of its runs are left."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from larpo_lib import RunResult, results
from larpo_lib.errors import ArtifactError
from larpo_lib.studies.run import Request, run_cells
from larpo_lib.studies.study import Cell

PAPER = Request("paper")


@pytest.fixture
def place(
    tiny_world: Path, tiny_run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Cell, Cell]:
    """A world, a cell whose run is finished in `study`, and one that is left, at whose begin the study ends."""
    root = tmp_path / "world"
    shutil.copytree(tiny_world, root)
    tree = tomllib.loads((root / "larpo.toml").read_text("utf-8").replace(str(tiny_world), str(root)))
    done, left = Cell(("done",), 0, tree), Cell(("left",), 0, {**tree, "train": {**tree["train"], "max_steps": 1}})
    home = root / "study" / "runs" / done.key
    shutil.copytree(tiny_run.out, home)
    (home / "settings.json").write_text(json.dumps(done.settings), "utf-8")
    monkeypatch.setattr("larpo_lib.studies.run.run_loop", _begins)
    return root, done, left


class _BeginsError(Exception):
    pass


def _begins(*_: object) -> None:
    raise _BeginsError


def test_what_is_left_of_a_study_begins_if_its_files_are_the_same(place: tuple[Path, Cell, Cell]) -> None:
    root, done, left = place
    with pytest.raises(_BeginsError):
        run_cells([done, left], PAPER, root / "study")


@pytest.mark.parametrize("name", ["prompts.jsonl", "heldout.jsonl", "policy/model.safetensors"])
def test_a_finished_run_of_other_files_is_not_compared_with_one_of_todays(
    place: tuple[Path, Cell, Cell], name: str
) -> None:
    root, done, left = place
    content = (root / name).read_bytes()
    changed = content.replace(b'"question": "', b'"question": "Say: ', 1) if name.endswith("jsonl") else content[:-1]
    (root / name).write_bytes(changed + b"\1" * (len(content) - len(changed)))
    before = run_cells([done], PAPER, root / "study")
    with pytest.raises(
        ArtifactError, match=r"Other runs of the study are left, .*made (with inputs|from another policy)"
    ) as raised:
        run_cells([done, left], PAPER, root / "study")
    assert str(root / "study" / "runs" / done.key) in raised.value.remedy
    (root / name).write_bytes(content)
    assert run_cells([done], PAPER, root / "study") == before


def test_a_finished_run_of_an_older_version_is_only_summarised(
    place: tuple[Path, Cell, Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, done, left = place
    monkeypatch.setattr(results, "CHANGES", {"sample": (results.Change("9.0.0", "it is better now"),)})
    assert len(run_cells([done], PAPER, root / "study")) == 1
    with pytest.raises(ArtifactError, match=r"candidates: was made with results of larpo 0.2.0, .*it is better now"):
        run_cells([done, left], PAPER, root / "study")
