"""Decisions of an LLM judge, each stored as it arrives: none is lost with a crash, none is bought twice."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import ConfigError, DataError, InputTooLongError
from larpo_lib.progress import progress, tell

Request = Mapping[str, Any]
Answer = dict[str, Any]

_SYNC_EVERY_S = 1.0  # a crash of the machine, not of the process, may lose what was decided in this time
_CHARACTERS_PER_TOKEN = 4  # of English, for an estimate


class Decisions:
    """A file of a judge's answers, one line of JSON each, found again by the request that they answer.

    The file outlives the step that writes it, so that an evaluation made anew with other settings of its own finds the
    decisions it has paid for. A line that a crash left half written is cut off when the file is opened.

    Args:
        path: the file, made if it is not there.
        limit: most answers it may come to hold; None: any number.

    Raises:
        DataError: a line before the last one is no decision.
        ConfigError: another process has the file open.
    """

    def __init__(self, path: Path, file: IO[bytes], *, limit: int | None = None) -> None:
        self._path, self._file, self._limit = path, file, limit
        self._answers: dict[str, Answer] = dict(_stored(path, file))
        self._synced = time.monotonic()
        self._asked: dict[str, tuple[Request, int]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, request: Request, attempt: int = 0) -> Answer | None:
        """The stored answer to a request, or None."""
        return self._answers.get(_key(request, attempt))

    def ask(
        self,
        endpoint: Endpoint[Answer],
        requests: Sequence[Request],
        *,
        label: str,
        attempt: int = 0,
        look: Callable[[Answer], None] | None = None,
    ) -> list[Answer | None]:
        """The answer to each request, in their order: from the file, else from the judge.

        Args:
            endpoint: the judge's.
            requests: bodies to post. Equal ones are asked once.
            label: for the progress, such as "alpaca_eval, judging".
            attempt: 1, 2, ... asks again what was asked before, such as after an answer that could not be read.
            look: is shown each answer, those of the file first; what it raises ends the asking, and nothing more is
                bought.

        Returns:
            For each request the answer; None where the judge says that it is too long.

        Raises:
            ConfigError: more answers are needed than the limit leaves; nothing was asked.
            EndpointError: a request failed for good. What came before is stored.
        """
        by_key = {_key(request, attempt): request for request in requests}
        self._asked.update({key: (request, attempt) for key, request in by_key.items()})
        missing = [(key, request) for key, request in by_key.items() if key not in self._answers]
        self._announce(missing, label)
        if look is not None:
            for key in [key for key in by_key if key in self._answers]:
                look(self._answers[key])
        with progress(label, len(by_key), len(by_key) - len(missing)) as advance:
            for place, answer in endpoint.arrivals([dict(request) for _, request in missing]):
                if not isinstance(answer, InputTooLongError):
                    self._store(*missing[place], attempt, answer)
                    if look is not None:
                        look(answer)
                advance(1)
        return [self.get(request, attempt) for request in requests]

    def save(self, path: Path) -> None:
        """Write the decisions that were asked for, in this format, so that equal ones give the same bytes."""
        with path.open("wb") as file:
            for key, (request, attempt) in sorted(self._asked.items()):
                if key in self._answers:
                    file.write(_line(key, request, attempt, self._answers[key]))

    def _announce(self, missing: Sequence[tuple[str, Request]], label: str) -> None:
        if not missing:
            return
        characters = sum(len(json.dumps(request, ensure_ascii=False)) for _, request in missing)
        estimate = f"{len(missing)} judge calls, about {characters // _CHARACTERS_PER_TOKEN:,} input tokens"
        if self._limit is not None and len(self) + len(missing) > self._limit:
            raise ConfigError(
                f"{label} needs {estimate}; with the {len(self)} decisions in {self._path} that is more than "
                f"the allowed {self._limit}",
                remedy="Increase max_calls (--max-judge-calls), or judge fewer responses",
            )
        tell(f"{label}: {estimate}; {len(self)} decisions are already stored")

    def _store(self, key: str, request: Request, attempt: int, answer: Answer) -> None:
        self._file.write(_line(key, request, attempt, answer))
        self._file.flush()  # with this a killed process loses nothing
        self._answers[key] = answer
        if time.monotonic() - self._synced >= _SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Wait until all decisions are on the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


@contextmanager
def decisions(path: Path, *, limit: int | None = None) -> Iterator[Decisions]:
    """Open a file of decisions; only one process at a time may have it open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{path}: another process is using it", remedy="Wait until it ends") from None
        store = Decisions(path, file, limit=limit)
        try:
            yield store
        finally:
            store.sync()


def _stored(path: Path, file: IO[bytes]) -> Iterator[tuple[str, Answer]]:
    file.seek(0)
    whole = 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            yield row["key"], row["answer"]
        except (ValueError, TypeError, KeyError):
            problem = "is not a judge's decision"
            raise DataError(problem, path=path, row=number, remedy="Delete the line, or choose another file") from None
        whole += len(line)
    file.truncate(whole)
    file.seek(0, os.SEEK_END)


def _line(key: str, request: Request, attempt: int, answer: Answer) -> bytes:
    line = {"key": key, "attempt": attempt, "request": request, "answer": answer}
    return json.dumps(line, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _key(request: Request, attempt: int) -> str:
    text = json.dumps([request, attempt], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
