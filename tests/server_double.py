"""A server on loopback that answers as a test says and remembers what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loopback import Handler, served


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
    """One answer. `cut_off`: the connection ends in the middle of it; `byte_s`: seconds before each of its bytes."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    cut_off: bool = False
    byte_s: float = 0.0


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


@contextmanager
def serve(answer: Answer) -> Iterator[ServerDouble]:
    """A server on a free port of 127.0.0.1."""
    double = ServerDouble(answer)

    class Answering(Handler):
        def answer(self) -> None:
            body = self.body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = double.receive(self.command, self.path, json.loads(body) if body else None, headers)
            plain = isinstance(reply.body, str | bytes)
            text = reply.body if plain else json.dumps(reply.body)
            whole = text if isinstance(text, bytes) else text.encode()
            kind = "text/html" if plain else "application/json"
            cut_at = len(whole) // 2 if reply.cut_off else None
            self.send(reply.status, whole, {"content-type": kind, **reply.headers}, cut_at, reply.byte_s)

    with served(Answering) as server:
        double.url = f"http://127.0.0.1:{server.server_port}"
        yield double
