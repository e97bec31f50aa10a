"""A database of MLflow's own is there whole or not at all, and one that is damaged is told before any work."""

import sqlite3
from contextlib import closing

import pytest
from mlflow.store.db import utils

from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.tracking import Tracker, outbox
from larpo_lib.tracking.client import TrackingClient
from larpo_lib.tracking.database import prepare_database


class Killed(BaseException):
    pass


def test_a_process_killed_while_mlflow_makes_its_tables_leaves_no_database(tmp_path, monkeypatch):
    """MLflow cannot go on from half of them."""

    def killed(engine):
        utils.InitialBase.metadata.create_all(engine)
        raise Killed

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with monkeypatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", killed)
        with pytest.raises(Killed):
            TrackingClient(uri)
    assert not (tmp_path / "mlflow.db").exists()
    assert [experiment.name for experiment in TrackingClient(uri).search_experiments()] == ["Default"]


def test_a_database_that_is_there_is_left_alone(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    TrackingClient(uri).create_experiment("kept")
    assert TrackingClient(uri).get_experiment_by_name("kept") is not None
    prepare_database(tmp_path / "mlflow.db")
    assert TrackingClient(uri).get_experiment_by_name("kept") is not None


def test_a_database_that_another_process_made_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "mlflow.db"
    made = utils._initialize_tables

    def slow(engine):
        made(engine)
        path.write_bytes(b"the other's")

    monkeypatch.setattr(utils, "_initialize_tables", slow)
    prepare_database(path)
    assert path.read_bytes() == b"the other's"
    assert [found.name for found in tmp_path.iterdir()] == ["mlflow.db"]


def without_page(path, table):
    """A database of which a disk has lost a page, that with the root of a table."""
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    whole = path.read_bytes()
    path.write_bytes(whole[: (page - 1) * size] + bytes(size) + whole[page * size :])


def without_table(path, table):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP TABLE {table}")


DAMAGES = {
    "text": (
        lambda path: path.write_text("no database, and long enough to be looked at" * 50),
        "file is not a database",
    ),
    "no header": (lambda path: path.write_bytes(bytes(100) + path.read_bytes()[100:]), "file is not a database"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:400_000]), "malformed"),
    "emptied": (lambda path: path.write_bytes(b""), "it is empty"),
    "lost page": (lambda path: without_page(path, "runs"), "Page"),
    "lost table": (lambda path: without_table(path, "runs"), "it has no table runs"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_told_with_its_file_and_what_to_do(mlflow_store, damage, capfd):
    spoil, why = DAMAGES[damage]
    path = mlflow_store / "mlflow.db"
    spoil(path)
    with pytest.raises(TrackingError) as raised:
        Tracker(TrackingConfig(), mlflow_store)
    told = str(raised.value)
    assert told.startswith(f"{path}: MLflow's database is damaged: ")
    assert why in told
    assert "Put a backup in its place, or move it away" in told
    assert "\n" not in told
    assert capfd.readouterr().err == ""


def test_what_is_in_the_place_of_the_database_is_told(tmp_path):
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(TrackingError, match=r"mlflow\.db: is not a file.* Move it away"):
        Tracker(TrackingConfig(), tmp_path)


def test_a_database_that_is_damaged_during_a_run_ends_no_training(mlflow_store, monkeypatch, caplog):
    """MLflow shows no traceback, and a backup gets what was logged meanwhile."""
    monkeypatch.setattr(outbox, "_PAUSE_S", 0.0)
    path, tracker = mlflow_store / "mlflow.db", Tracker(TrackingConfig(system_metrics=False), mlflow_store)
    config = LarpoConfig.model_validate({"policy": "p", "prepare": {"source": "prompts.jsonl"}})
    with tracker.run("demo", "key", config), tracker.step("train", 1) as step:
        step.log_metrics({"loss": 0.5}, 1)
        backup = path.read_bytes()
        path.write_bytes(b"no database" * 10_000)
        step.log_metrics({"loss": 0.25}, 2)
        path.write_bytes(backup)
    history = TrackingClient(tracker.uri).get_metric_history(step.run_id, "loss")
    assert [point.value for point in history] == [0.5, 0.25]
    assert not [record for record in caplog.records if record.name.startswith("mlflow") and record.exc_info]
