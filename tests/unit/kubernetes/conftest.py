"""A cluster for each test, which the environment points to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes_double import Api, kubernetes_api


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The double of a cluster's API."""
    with kubernetes_api() as double:
        monkeypatch.setenv("KUBECONFIG", str(double.kubeconfig(tmp_path)))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        for name in ("KFP_POD_NAME", "POD_NAME"):
            monkeypatch.delenv(name, raising=False)
        yield double
