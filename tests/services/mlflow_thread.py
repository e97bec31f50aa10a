"""A real MLflow server in a thread of the test, which can be away, silent or back at any moment."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest


class MlflowThread:
    """MLflow's own server on loopback, on a database that is there.

    Args:
        patch: undoes what it sets.
        store: folder with `mlflow.db`; artifacts go beside it.

    Attributes:
        uri: its address, the same after every return.
    """

    def __init__(self, patch: pytest.MonkeyPatch, store: Path) -> None:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{store / 'mlflow.db'}")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(store / "served"))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # the server sets them for its process
            patch.setenv(name, "")
            patch.delenv(name)
        from mlflow.server import app, handlers
        from mlflow.tracking._model_registry import utils as registry
        from mlflow.tracking._tracking_service import utils as tracking

        patch.setattr(tracking, "_tracking_uri", None)
        patch.setattr(registry, "_registry_uri", None)

        patch.setattr(handlers, "_tracking_store", None)
        patch.setattr(handlers, "_artifact_repo", None)
        self._app = app
        self._server: Any = None
        self._speaks = threading.Event()
        self._speaks.set()
        self._port = 0
        self.back()
        self.uri = f"http://127.0.0.1:{self._port}"

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self._speaks.wait(60)
        return self._app(environ, start)

    def refuse(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def be_silent(self) -> None:
        """Take connections and do not answer."""
        self._speaks.clear()

    def back(self) -> None:
        """Answer again."""
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log_request(self, *given: Any) -> None:
                """Say nothing."""

        self._speaks.set()
        if self._server is None:
            self._server = make_server("127.0.0.1", self._port, self, threaded=True, request_handler=Quiet)
            self._port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
