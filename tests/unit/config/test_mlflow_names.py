"""Names are refused with the settings, before any work; those that are not, a real MLflow takes."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from larpo_lib.config import TrackingConfig, load_config
from larpo_lib.config.load import check_given
from larpo_lib.errors import ConfigError, TrackingError
from larpo_lib.tracking import Tracker, TrackingClient

RUN = ["policy=p", "prepare.source=a.jsonl", "prepare.heldout=2"]
MODEL, EXPERIMENT, NAME = "promote.model_name", "tracking.experiment", "name"


@pytest.mark.parametrize(
    ("setting", "name", "message"),
    [
        (MODEL, "team/model", "contains '/'"),
        (MODEL, "a:b", "contains ':'"),
        (MODEL, "a@b", "contains '@'"),
        (MODEL, "Bob's", 'contains "\'"'),
        (MODEL, "", "is empty"),
        (MODEL, " ", "is empty"),
        (MODEL, "..", "is only '..'"),
        (MODEL, "a\nb", "control character"),
        (MODEL, "x" * 257, "has 257 characters, but MLflow takes at most 256"),
        (EXPERIMENT, "", "is empty"),
        (EXPERIMENT, "a\0", "control character"),
        (EXPERIMENT, "x" * 257, "at most 256"),
        (NAME, "x" * 251, "at most 250"),
    ],
)
def test_a_name_that_mlflow_does_not_take_is_refused_with_the_settings(setting: str, name: str, message: str) -> None:
    """On this machine and, before anything is sent, by the client of a cluster."""
    section, _, key = setting.rpartition(".")
    tree = {section: {key: name}} if section else {key: name}
    with pytest.raises(ConfigError) as sent:
        check_given(tree)
    with pytest.raises(ConfigError) as run:
        load_config(None, [*RUN, f"{setting}={json.dumps(name)}"])
    for raised in (sent, run):
        assert setting in str(raised.value)
        assert message in str(raised.value)
        assert "Choose another name" in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["larpo policy", 'a"b', "a.b-c_d", "política", "x" * 250])
def test_a_name_that_is_not_refused_is_one_of_mlflow(name: str, mlflow_uri: str) -> None:
    config = load_config(None, [*RUN, *(f"{setting}={json.dumps(name)}" for setting in (MODEL, EXPERIMENT, NAME))])
    client = TrackingClient(mlflow_uri)
    client.create_run(client.create_experiment(config.tracking.experiment), run_name=config.name)
    client.create_registered_model(config.promote.model_name)
    assert len(client.search_registered_models(f"name = '{config.promote.model_name}'")) == 1


def test_an_experiment_that_was_deleted_is_told_before_any_work(mlflow_store: Path) -> None:
    config = TrackingConfig(experiment="gone")
    client = MlflowClient(Tracker(config, mlflow_store).uri)
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)
    with pytest.raises(TrackingError, match=r"experiment 'gone' was deleted in MLflow\. Restore it there"):
        Tracker(config, mlflow_store)
