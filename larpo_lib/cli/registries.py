"""The model registry that a command reads, which is not made where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from larpo_lib.errors import ConfigError

if TYPE_CHECKING:
    from larpo_lib.registry import Registry


def existing_registry(store: Path, config: Path | None, settings: Sequence[str]) -> Registry:
    """The registry that the settings or the environment name, else that of a store that is there."""
    from larpo_lib.config import TrackingConfig, load_section
    from larpo_lib.registry import Registry
    from larpo_lib.tracking import own_store, resolve_uri

    tracking: TrackingConfig = load_section("tracking", config, settings)
    uri = resolve_uri(tracking, store)
    if uri == own_store(store) and not (store / "mlflow.db").is_file():
        raise ConfigError(
            f"{store}: there is no MLflow store here",
            remedy="Set --store to the folder mlflow of a run, or MLFLOW_TRACKING_URI to a server",
        )
    return Registry(uri)
