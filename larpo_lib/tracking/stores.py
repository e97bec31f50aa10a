"""Where MLflow is, and the experiment that runs belong to."""

import os
from pathlib import Path

from larpo_lib.config import TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.tracking.client import TrackingClient
from larpo_lib.tracking.database import database_uri


def resolve_uri(config: TrackingConfig, store: Path) -> str:
    """Where MLflow is: `config.uri`, else MLFLOW_TRACKING_URI, else a SQLite database in `store`."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or own_store(store)


def own_store(store: Path) -> str:
    """The database in a folder."""
    return database_uri(store / "mlflow.db")


def experiment(client: TrackingClient, name: str, artifacts: str | None) -> str:
    """Identity of the experiment `name`, made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except TrackingError:
            found = client.get_experiment_by_name(name)  # another process may have made it just now
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment '{name}' was deleted in MLflow",
            remedy="Restore it there, or set tracking.experiment to another name",
        )
    return str(found.experiment_id)
