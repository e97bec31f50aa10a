from pathlib import Path

import pytest
from promotions import World


@pytest.fixture
def world(mlflow_store: Path, tmp_path: Path) -> World:
    return World(tmp_path, mlflow_store)
