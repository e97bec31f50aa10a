"""Servers that go away: moto's S3 and MLflow's own, behind a switch that counts requests."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Application = Callable[..., Iterable[bytes]]


class Switch:
    """An application of WSGI with an outage.

    Args:
        application: what answers otherwise.

    Attributes:
        requests: how many came since the last `set`.
        url: where it is served.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.url = ""
        self.set()

    def set(self, how: str = "", at: int = 0, seconds: float = 60.0) -> None:
        """End an outage, and plan the next one.

        Args:
            how: "busy": it answers 503; "hang": nothing; "cut": half of what it should. "": there is none.
            at: the number of the request at which it begins.
            seconds: how long it is, unless it is ended before.
        """
        with self._lock:
            self._over.set()
            self._over = threading.Event()
            self.requests, self._how, self._at, self._seconds, self._until = 0, how, at, seconds, 0.0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.requests += 1
            if self._how and self.requests == self._at:
                self._until = time.monotonic() + self._seconds
            left, how, over = self._until - time.monotonic(), self._how, self._over
        if left <= 0:
            return self._application(environ, start)
        if how == "busy":
            start("503 Service Unavailable", [("Content-Length", "0")])
            return []
        if how == "hang":
            over.wait(left)
        return self._cut(environ, start)

    def _cut(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        """Do what was asked for, and lose the connection within the answer."""
        body = b"".join(self._application(environ, start))
        yield body[: len(body) // 2]
        raise ConnectionError


@contextmanager
def served(application: Application) -> Iterator[Switch]:
    """Serve on a free port of 127.0.0.1, in a thread, until the block ends."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *given: Any) -> None:
            """Say nothing."""

        def log(self, *given: Any) -> None:
            """Say nothing of answers that were cut."""

    switch = Switch(application)
    server = make_server("127.0.0.1", 0, switch, threaded=True, request_handler=Quiet)
    switch.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield switch
    finally:
        switch.set()
        server.shutdown()
        server.server_close()
