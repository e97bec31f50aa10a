"""What the tests of tracking share: runs are read back with MLflow's own client."""

from typing import Any

from larpo_lib.tracking import Tracker

KEY = "4f2a"


def reader(tracker: Tracker) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracker.uri)


def children(tracker: Tracker, parent: str) -> list[Any]:
    client = reader(tracker)
    experiment = client.get_run(parent).info.experiment_id
    return list(client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'", order_by=["start_time ASC"]))
