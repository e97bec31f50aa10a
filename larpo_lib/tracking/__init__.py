"""MLflow at the edge: a client that tells what is wrong, and the runs that steps are logged to."""

from larpo_lib.tracking.client import Client, redact, told
from larpo_lib.tracking.runs import Run, Tracker, resolve_uri

__all__ = ["Client", "Run", "Tracker", "redact", "resolve_uri", "told"]
