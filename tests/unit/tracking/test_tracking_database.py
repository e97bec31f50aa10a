"""A database of MLflow's own is there whole or not at all."""

import pytest
from mlflow.store.db import utils

from larpo_lib.tracking import client
from larpo_lib.tracking.client import TrackingClient


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
    client._make_database(tmp_path / "mlflow.db")
    assert TrackingClient(uri).get_experiment_by_name("kept") is not None


def test_a_database_that_another_process_made_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "mlflow.db"
    made = utils._initialize_tables

    def slow(engine):
        made(engine)
        path.write_bytes(b"the other's")

    monkeypatch.setattr(utils, "_initialize_tables", slow)
    client._make_database(path)
    assert path.read_bytes() == b"the other's"
    assert [found.name for found in tmp_path.iterdir()] == ["mlflow.db"]
