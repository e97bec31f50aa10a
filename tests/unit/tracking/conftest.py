from pathlib import Path

import pytest

from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.tracking import Tracker


@pytest.fixture
def config() -> LarpoConfig:
    return LarpoConfig.model_validate({"policy": "models/base", "prepare": {"source": "prompts.jsonl"}})


@pytest.fixture
def tracker(mlflow_store: Path) -> Tracker:
    return Tracker(TrackingConfig(), mlflow_store)
