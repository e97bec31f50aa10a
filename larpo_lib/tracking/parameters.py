"""Settings as the parameters of an MLflow run."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from larpo_lib.tracking.client import TrackingClient


def log_params(client: TrackingClient, run: Any, tree: Mapping[str, Any]) -> None:
    """Log settings. MLflow refuses to change a parameter, so a run taken up again keeps the ones it has."""
    from mlflow.entities import Param
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    new = {name: value for name, value in flatten(tree) if name not in run.data.params}
    params = [Param(name, value[:MAX_PARAM_VAL_LENGTH]) for name, value in new.items()]
    if params:
        client.log_batch(run.info.run_id, params=params)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`a.b` and a text for each setting, by name."""
    for name, value in sorted(tree.items()):
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)
