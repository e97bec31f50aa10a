import json
import shutil
import subprocess
import sys
import time

import pytest

from larpo_lib import run_files
from larpo_lib.config import load_config
from larpo_lib.errors import ArtifactError, StorageError
from larpo_lib.files import write_json
from larpo_lib.run_files import Clock, run_key, write_settings

SETTINGS = ["policy=p", "prepare.source=a.jsonl", "prepare.heldout=2"]


def test_the_settings_kept_are_read_back_as_they_were(tmp_path):
    config = load_config(None, [*SETTINGS, "train.learning_rate=3e-7", "rerank.reranker.type=verifier"])
    write_settings(config, tmp_path)
    assert load_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize("uri", ["postgresql://me:secret@db/mlflow", "postgresql://db/mlflow?user=me&password=secret"])
def test_no_password_is_kept(tmp_path, uri):
    config = load_config(None, [*SETTINGS, f"tracking.uri='{uri}'", "tracking.experiment=e"])
    write_settings(config, tmp_path)
    text = (tmp_path / "config.toml").read_text("utf-8")
    assert "secret" not in text
    assert "db" not in text
    assert "# tracking.uri held a password and is left out: set MLFLOW_TRACKING_URI." in text
    assert load_config(tmp_path / "config.toml").tracking.experiment == "e"


def test_an_address_without_a_password_is_kept(tmp_path):
    write_settings(load_config(None, [*SETTINGS, "tracking.uri='http://mlflow:5000'"]), tmp_path)
    assert load_config(tmp_path / "config.toml").tracking.uri == "http://mlflow:5000"


def test_seconds_are_counted_call_by_call(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(run_files, "monotonic", lambda: now[0])
    for seconds in (3.0, 4.5):
        clock = Clock(tmp_path)
        with clock.running():
            now[0] += seconds
        now[0] += 1000.0
    assert json.loads((tmp_path / "seconds.json").read_text("utf-8")) == {"calls": [3.0, 4.5], "steps": []}
    assert Clock(tmp_path).by_call() == [3.0, 4.5, 0.0]


def test_seconds_of_a_killed_call_count(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from larpo_lib import run_files\n"
        "run_files._EVERY_S = 0.05\n"
        "with run_files.Clock(Path(sys.argv[1])).running():\n    print('on', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)
        process.kill()
    killed, after = Clock(tmp_path).by_call()
    assert 0.2 <= killed <= 10
    assert after == 0.0


def test_seconds_that_cannot_be_read_are_told(tmp_path):
    write_json(tmp_path / "seconds.json", {"calls": ["a"], "steps": []})
    with pytest.raises(ArtifactError, match=r"seconds\.json: cannot be read: it does not contain numbers\. Delete it"):
        Clock(tmp_path)


@pytest.mark.parametrize("kept", [{"run_key": "k"}, {"run_key": "k", "place": "elsewhere"}])
def test_a_moved_run_stays_the_same_run_of_mlflow(tmp_path, kept):
    run, waiting = tmp_path / "moved", tmp_path / "moved" / "mlflow" / "waiting"
    waiting.mkdir(parents=True)
    write_json(run / "run.json", kept)
    (tmp_path / "link").symlink_to(run)
    assert [run_key(place) for place in (run, run, tmp_path / "link")] == ["k"] * 3
    assert waiting.is_dir()


def test_a_copied_run_is_another_run_of_mlflow_and_leaves_what_waits_to_its_origin(tmp_path):
    origin, copy = tmp_path / "origin", tmp_path / "copy"
    (origin / "mlflow" / "waiting").mkdir(parents=True)
    key = run_key(origin)
    shutil.copytree(origin, copy)
    other = run_key(copy)
    assert other != key
    assert (run_key(origin), run_key(copy)) == (key, other)
    assert [(place / "mlflow" / "waiting").exists() for place in (origin, copy)] == [True, False]
    shutil.rmtree(origin)
    copy.rename(origin)
    assert run_key(origin) == other


def test_a_run_in_a_store_is_known_by_its_address(tmp_path, monkeypatch):
    there = {}

    def fetch(uri, cache):
        if uri not in there:
            raise StorageError(f"{uri}: is not there")
        return there[uri]

    monkeypatch.setattr(run_files, "fetch", fetch)
    key = run_key(tmp_path, "s3://bucket/origin")
    assert run_key(tmp_path, "s3://bucket/moved") == key
    there["s3://bucket/moved/run.json"] = shutil.copyfile(tmp_path / "run.json", tmp_path / "theirs.json")
    assert run_key(tmp_path, "s3://bucket/copy") != key
