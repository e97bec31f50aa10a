"""Settings as the parameters of an MLflow run."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from larpo_lib.tracking.client import TrackingClient

_PLAIN = re.compile(r"[\w-]+")
_LONGEST = 250
"""Characters of a name that MLflow takes."""


def log_params(client: TrackingClient, run: Any, tree: Mapping[str, Any]) -> None:
    """Log settings. MLflow refuses to change a parameter, so a run taken up again keeps the ones it has."""
    from mlflow.entities import Param
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    new = {name: value for name, value in flatten(tree) if name not in run.data.params}
    params = [Param(name, value[:MAX_PARAM_VAL_LENGTH]) for name, value in new.items()]
    if params:
        client.log_batch(run.info.run_id, params=params)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`a.b` and a text for each setting, by name.

    A table in which some `b` makes no name that MLflow takes, such as the `$ref` of a JSON Schema, is one setting.
    """
    for name, value in sorted(tree.items()):
        place = prefix + name
        if isinstance(value, dict) and all(_nameable(place, key) for key in value):
            yield from flatten(value, f"{place}.")
        else:
            yield place, value if isinstance(value, str) else json.dumps(value)


def _nameable(place: str, key: str) -> bool:
    return _PLAIN.fullmatch(key) is not None and len(f"{place}.{key}") <= _LONGEST
