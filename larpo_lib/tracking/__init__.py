"""MLflow at the edge: a client that tells what is wrong, and the runs that steps are logged to."""

from larpo_lib.tracking.client import TrackingClient, mlflow_errors
from larpo_lib.tracking.data import DataSet
from larpo_lib.tracking.parameters import flatten
from larpo_lib.tracking.tracker import PARENT, Run, Tracker
from larpo_lib.tracking.stores import own_store, resolve_uri

__all__ = [
    "PARENT",
    "DataSet",
    "Run",
    "Tracker",
    "TrackingClient",
    "flatten",
    "mlflow_errors",
    "own_store",
    "resolve_uri",
]
