"""The files beside a run's artifacts, on this machine and in a store."""

import json
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.run_files import Clock, read_models, run_key
from larpo_lib.run_place import RunPlace

ROOT = "s3://larpo-bucket/runs/one"
KEYS = {"run_key": "first", "place": ROOT}
PINNED = {"org/m": "org/m@" + "a" * 40}


@pytest.fixture
def place(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPlace:
    """Of a run that this machine has made."""
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    found = RunPlace.find(ROOT)
    found.work.mkdir(parents=True)
    files = {"run.json": KEYS, "models.json": PINNED, "seconds.json": {"calls": [99.0], "steps": []}}
    for name, content in {**files, "summary.json": {"promoted": True}}.items():
        (found.work / name).write_text(json.dumps(content))
    return found


def stored(s3: Any, name: str, content: Any) -> None:
    s3.put_object(Bucket="larpo-bucket", Key=f"runs/one/{name}", Body=json.dumps(content).encode())


def test_a_run_that_was_deleted_from_the_store_leaves_nothing_to_the_next_one(place: RunPlace) -> None:
    assert not place.read()
    assert not [*place.work.iterdir()]
    assert read_models(place.work) == {}
    assert run_key(place.work, ROOT) != "first"
    assert Clock(place.work).by_call() == [0.0]


def test_another_run_that_was_begun_in_its_place_since_has_its_own_files_alone(place: RunPlace, s3: Any) -> None:
    stored(s3, "run.json", {**KEYS, "run_key": "second"})
    stored(s3, "seconds.json", {"calls": [1.0], "steps": []})
    assert not place.read()
    assert {path.name for path in place.work.iterdir()} == {"run.json", "seconds.json"}
    assert run_key(place.work, ROOT) == "second"
    assert Clock(place.work).by_call() == [1.0, 0.0]


def test_what_a_kill_kept_from_the_store_is_kept_and_named(place: RunPlace, s3: Any) -> None:
    stored(s3, "run.json", KEYS)
    stored(s3, "models.json", PINNED)
    stored(s3, "seconds.json", {"calls": [98.0], "steps": []})
    assert place.read() == ["summary.json"]
    assert json.loads((place.work / "summary.json").read_text()) == {"promoted": True}
    place.write(["summary.json"])
    assert place.read() == []
    there = s3.get_object(Bucket="larpo-bucket", Key="runs/one/summary.json")["Body"].read()
    assert json.loads(there) == {"promoted": True}


def test_a_run_that_has_no_key_yet_is_only_beginning(place: RunPlace) -> None:
    (place.work / "run.json").unlink()  # so another process, at its first instant
    assert place.read() == ["models.json", "seconds.json", "summary.json"]
    assert read_models(place.work) == PINNED


def test_a_run_on_this_machine_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(KEYS))
    assert RunPlace.find(tmp_path).read() == []
    assert (tmp_path / "run.json").is_file()
