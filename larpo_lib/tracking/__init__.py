"""MLflow at the edge: a client that tells what is wrong, and the runs that steps are logged to."""

from larpo_lib.tracking.client import TrackingClient, mlflow_errors
from larpo_lib.tracking.data import DataSet
from larpo_lib.tracking.parameters import flatten
from larpo_lib.tracking.runs import Run
from larpo_lib.tracking.server import PARENT
from larpo_lib.tracking.spool import FOLDER as WAITING
from larpo_lib.tracking.spool import Spool
from larpo_lib.tracking.stores import own_store, resolve_uri
from larpo_lib.tracking.tracker import Tracker, deliver_waiting

__all__ = [
    "PARENT",
    "WAITING",
    "DataSet",
    "Run",
    "Spool",
    "Tracker",
    "TrackingClient",
    "deliver_waiting",
    "flatten",
    "mlflow_errors",
    "own_store",
    "resolve_uri",
]
