"""HTTP servers of tests on loopback."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from sys import exception
from time import sleep
from typing import Any


class Handler(BaseHTTPRequestHandler, ABC):
    """Keeps connections open and says nothing; every request goes to `answer`."""

    protocol_version = "HTTP/1.1"

    @abstractmethod
    def answer(self) -> None:
        """Answer a request."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def send(
        self, status: int, body: bytes, headers: Mapping[str, str], cut_at: int | None = None, byte_s: float = 0.0
    ) -> None:
        """Answer; where it is cut the connection ends. A client that has gone is no error.

        Args:
            byte_s: seconds before each byte of the body.
        """
        try:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                for piece in map(bytes, zip(body[:cut_at])) if byte_s else [body[:cut_at]]:
                    sleep(byte_s)
                    self.wfile.write(piece)
            self.close_connection |= cut_at is not None
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that wait to be taken; with few, many clients at once are refused

    def handle_error(self, *_arguments: Any) -> None:
        """Says nothing of a client that went away between two requests, and all of any other error."""
        if not isinstance(exception(), ConnectionError):
            super().handle_error(*_arguments)


@contextmanager
def served(handler: type[Handler], tls: SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    """A server on a free port of 127.0.0.1, until the block ends."""
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
