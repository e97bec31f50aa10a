"""What the tests of pipelines share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from services.kfp_api import kfp_api
from services.kfp_state import KfpApi
from small_pipeline import write_small_pipeline

_VARIABLES = ("KFP_TOKEN", "KFP_NAMESPACE", "KF_PIPELINES_SA_TOKEN_PATH", "KFP_CA_CERTIFICATE")


@pytest.fixture(scope="session")
def small_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small compiled pipeline; not to be written to."""
    return write_small_pipeline(tmp_path_factory.mktemp("package") / "small.yaml")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpApi]:
    """The API of an installation with one user, where no token is asked for; KFP_ENDPOINT names it."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with kfp_api() as api:
        monkeypatch.setenv("KFP_ENDPOINT", api.url)
        yield api
