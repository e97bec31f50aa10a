"""A server on loopback that answers as a test says and remembers what it was asked."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request: `tries` counts equal ones, this one included."""

    method: str
    path: str
    payload: Any
    headers: dict[str, str]
    tries: int


@dataclass(frozen=True)
class Reply:
    """One answer. `cut_off`: the connection ends in the middle of it."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    cut_off: bool = False


Answer = Callable[[Asked], Reply]


class ServerDouble:
    """What it was asked, and how many requests were open at one time."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.most_in_flight = 0
        self.url = ""
        self._in_flight = 0
        self._lock = threading.Lock()

    def paths(self) -> list[str]:
        """The routes asked, in order."""
        return [asked.path for asked in self.asked]

    def payloads(self, path: str) -> list[Any]:
        """The payloads that a route got, in order."""
        return [asked.payload for asked in self.asked if asked.path == path]

    def receive(self, method: str, path: str, payload: Any, headers: dict[str, str]) -> Reply:
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            tries = 1 + sum((old.method, old.path, old.payload) == (method, path, payload) for old in self.asked)
            asked = Asked(method, path, payload, headers, tries)
            self.asked.append(asked)
        reply = self.answer(asked)
        time.sleep(reply.after_s)
        with self._lock:
            self._in_flight -= 1
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that wait to be taken; with few, many clients at once are refused

    def handle_error(self, *_arguments: Any) -> None:
        """Says nothing of a client that went away between two requests, and all of any other error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*_arguments)


@contextmanager
def serve(answer: Answer) -> Iterator[ServerDouble]:
    """A server on an ephemeral port of 127.0.0.1."""
    double = ServerDouble(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("content-length", 0))
            payload = json.loads(self.rfile.read(length)) if length else None
            reply = double.receive(self.command, self.path, payload, {k.lower(): v for k, v in self.headers.items()})
            text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            kind = "text/html" if isinstance(reply.body, str) else "application/json"
            try:
                self.send_response(reply.status)
                for name, value in {"content-type": kind, **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                if reply.cut_off:
                    self.wfile.write(text.encode()[: len(text) // 2])
                    self.close_connection = True
                else:
                    self.wfile.write(text.encode())
            except OSError:  # the client has gone
                self.close_connection = True

        do_GET = do_POST = _serve  # noqa: N815 - the names that http.server calls

        def log_message(self, *_arguments: Any) -> None:
            """Says nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
