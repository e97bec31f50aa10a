"""Paths with marks that others read as parts of a URI work, and other URIs are refused before anything is done."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from table_rows import candidate

from larpo_lib.artifacts import produce
from larpo_lib.config import PrepareConfig, TrackingConfig
from larpo_lib.errors import StorageError
from larpo_lib.run_place import RunPlace
from larpo_lib.storage.locations import located, located_here
from larpo_lib.tables import read_table, write_table
from larpo_lib.tracking import Tracker

ODD = "a:b?c=1#d%20e &f"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~", "/home/ann"),
        ("~/runs/x", "/home/ann/runs/x"),
        ("./~/x", "./~/x"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("name:with:colon/x", "name:with:colon/x"),
        ("./file:x", "./file:x"),
        (ODD, ODD),
    ],
)
def test_a_path_is_taken_as_it_is_but_for_the_home_directory(text, path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert located(text) == path
    if not text.startswith("s3:"):
        assert RunPlace.find(text).work == Path(path)
    if not text.startswith(("s3:", "./")):  # which a Path does not keep
        assert located_here(Path(text)) == Path(path)


@pytest.mark.parametrize(
    "text",
    ["file:x", "file:///x", "FILE:x", "gs://bucket/x", "http://host/x", "s3:/bucket/x", "s3:x", "~nobody-here/x"],
)
def test_other_uris_are_refused(text):
    with pytest.raises(StorageError, match=r"s3://bucket/key|no such user"):
        located(text)
    with pytest.raises(StorageError, match=r"must be a local path|s3://bucket/key|no such user"):
        located_here(Path(text))
    with pytest.raises(StorageError):
        RunPlace.find(text)


@pytest.mark.parametrize(
    "command",
    [
        "run --config larpo.toml --out file:///tmp/x",
        "run --config larpo.toml --out x --pool s3://bucket/pool",
        "quickstart --out gs://bucket/x",
        "playground --out s3://bucket/x",
        "prepare --config larpo.toml --prompts file:x",
        "prepare --config larpo.toml --prompts gs://bucket/x",
        "rerank --config larpo.toml --prompts prompts --candidates candidates --candidates file:x --ranked out",
        "promote --policy policy --evaluation evaluated --promotion s3://bucket/x",
        "export --lists lists --out gs://bucket/x.jsonl",
        "champion fetch tiny --out s3://bucket/x",
    ],
)
def test_commands_refuse_them_at_once(command, larpo, here):
    before = sorted(here.iterdir())
    ended = larpo(*command.split())
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "local path" in ended.err
    assert sorted(here.iterdir()) == before


def test_a_step_writes_and_reads_at_an_odd_place(larpo, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    assert larpo("prepare", "--config", "larpo.toml", "--prompts", f"~/{ODD}").code == 0
    assert {path.name for path in (here / "home").iterdir()} >= {ODD}
    rows = read_table(Path("home", ODD), "prompts")
    assert rows == read_table(here / "prompts", "prompts")
    assert larpo("export", "--lists", "lists", "--out", f"{ODD}.parquet").code == 0
    assert pq.read_table(here / f"{ODD}.parquet").num_rows > 0


def test_tables_are_files_and_no_uris(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = candidate("p", "r", candidate_id="c", token_ids=[1], num_tokens=1)
    for name in (f"{ODD}.parquet", "s3:x.parquet", "http:x.parquet"):
        write_table(Path(name), "candidates", [row])
        assert (tmp_path / name).is_file()
        assert read_table(Path(name), "candidates") == [row]


def test_mlflow_keeps_its_database_and_its_files_at_an_odd_place(mlflow_store, tmp_path):
    store = tmp_path / ODD / "mlflow"
    store.parent.mkdir()
    mlflow_store.rename(store)
    tracker = Tracker(TrackingConfig(experiment="odd"), store)
    (tmp_path / "note.txt").write_text("note", "utf-8")
    with tracker.run("odd", "key", TrackingConfig()) as run:
        run.log_artifact(tmp_path / "note.txt")
    assert {path.name for path in tmp_path.iterdir()} == {ODD, "note.txt"}
    assert [path.read_text("utf-8") for path in store.rglob("note.txt")] == ["note"]


@pytest.mark.parametrize("output", ["", "/", ".", "..", "x/..", "./", "x/../..", "../{here}"])
def test_the_working_directory_and_those_above_it_are_no_outputs(output, larpo, tmp_path, monkeypatch):
    """Before any work, and without a trace: the source is not even looked for."""
    here = tmp_path / "below" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    output = output.format(here=here.name)
    told = larpo("prepare", "--set", "prepare.source=absent.jsonl", "--prompts", output)
    assert (told.code, told.out) == (2, "")
    assert "is the working directory or one above it, and cannot be an output. Choose a directory" in told.err
    with pytest.raises(StorageError, match="cannot be an output"):
        produce("step", PrepareConfig(source="x"), {}, Path(output), lambda _: pytest.fail("it worked"))
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "below", here]


@pytest.mark.parametrize("out", ["", "/", "x/..", "~/.."])
def test_a_run_has_a_directory_of_its_own(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="cannot be the directory of a run"):
        RunPlace.find(out)
    assert RunPlace.find(".").work == Path()
    assert list(tmp_path.iterdir()) == []
