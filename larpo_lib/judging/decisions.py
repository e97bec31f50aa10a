"""Decisions of an LLM judge, each stored as it arrives: none is lost with a crash, none is bought twice."""

import hashlib
import itertools
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import ConfigError, DataError, FilteredError, HeldError, InputRefusedError
from larpo_lib.files import make_directory
from larpo_lib.holder import Holder
from larpo_lib.locks import exclusive, waiting
from larpo_lib.parsing import parse_json
from larpo_lib.progress import progress, tell

Request = Mapping[str, Any]
Answer = dict[str, Any]
Look = Callable[[Answer], None]
_Place = tuple[int, int, int]
"""Descriptor of a file, and offset and length of a line."""

CHARACTERS_PER_TOKEN = 4
"""Of English, for an estimate."""
_CHECKSUM = "checksum"
"""Of key and answer; lines that versions before 0.3 wrote have none, nor have artifacts, which have one of the file."""
_LOG = logging.getLogger(__name__)
_SYNC_EVERY_S = 1.0  # a crash of the machine, not of the process, may lose what was decided in this time


class Decisions:
    """A judge's answers in a file, one line of JSON each, found again by the request that they answer.

    The file outlives the step that writes it, so that a step made anew with other settings of its own finds the
    decisions it has paid for. A line that a crash left half written is cut off when the file is opened. Answers stay
    on the disk: in memory are only their places.

    Args:
        path: the file, made if it is not there.
        limit: most answers it may come to hold; None: any number.
        with_requests: whether a line holds the request, too, which may be long.

    Raises:
        DataError: a line before the last one is no decision.
        ConfigError: another process has the file open.
    """

    def __init__(self, path: Path, file: IO[bytes], *, limit: int | None = None, with_requests: bool = True) -> None:
        self._own, self._limit, self._with_requests = _File(path, file), limit, with_requests
        self._others: dict[Path, _File] = {}
        self._places = dict(self._own.read_on())
        file.truncate(self._own.end)
        self._synced = time.monotonic()
        self._asked: dict[str, tuple[Request, int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def get(self, request: Request, attempt: int = 0) -> Answer | None:
        """The stored answer to a request, or None."""
        return self._get(_key(request, attempt))

    def ask(
        self,
        endpoint: Endpoint[Answer],
        requests: Sequence[Request],
        *,
        label: str,
        attempt: int = 0,
        look: Look | None = None,
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
            For each request the answer, which says nothing where a content filter took its place; None where the judge
            says that it is too long.

        Raises:
            ConfigError: more answers are needed than the limit leaves; nothing was asked.
            EndpointError: a request failed for good. What came before is stored.
        """
        by_key = {_key(request, attempt): request for request in requests}
        missing = [request for key, request in by_key.items() if key not in self._places]
        self._announce(missing, label)
        with progress(label, len(by_key), len(by_key) - len(missing)) as advance:
            return self.answers(endpoint, requests, attempt=attempt, look=look, arrived=lambda: advance(1))

    def answers(
        self,
        endpoint: Endpoint[Answer],
        requests: Sequence[Request],
        *,
        attempt: int = 0,
        look: Look | None = None,
        arrived: Callable[[], None] = lambda: None,
    ) -> list[Answer | None]:
        """As `ask`, but nothing is told and no limit kept; `arrived` is called as often as the judge has answered."""
        by_key = {_key(request, attempt): request for request in requests}
        self._asked.update({key: (request, attempt) for key, request in by_key.items()})
        missing = [(key, request) for key, request in by_key.items() if key not in self._places]
        if look is not None:
            for key in by_key:
                if (stored := self._get(key)) is not None:
                    look(stored)
        for place, found in endpoint.arrivals([dict(request) for _, request in missing]):
            answer = _of_filter(found) if isinstance(found, FilteredError) else found
            if not isinstance(answer, InputRefusedError):
                self._store(*missing[place], attempt, answer)
                if look is not None:
                    look(answer)
            arrived()
        return [self.get(request, attempt) for request in requests]

    def save(self, path: Path) -> None:
        """Write the decisions that were asked for, in this format, so that equal ones give the same bytes."""
        with path.open("wb") as file:
            for key, (request, attempt) in sorted(self._asked.items()):
                if (answer := self._get(key)) is not None:
                    file.write(_line(key, attempt, answer, request))

    def read_others(self, folder: Path) -> None:
        """Learn what other processes have written into the files of a folder since the last time."""
        for path in sorted(folder.glob("*.jsonl")):
            if path != self._own.path:
                if path not in self._others:
                    self._others[path] = _File(path, path.open("rb"))
                self._places.update(self._others[path].read_on())

    def sync(self) -> None:
        """Wait until all decisions are on the disk."""
        os.fsync(self._own.file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Wait for the disk, and let go of the files of others."""
        if not self._own.file.closed:  # as the garbage collector does it, in any order
            self.sync()
        for other in self._others.values():
            other.file.close()

    def _announce(self, missing: Sequence[Request], label: str) -> None:
        if not missing:
            return
        characters = sum(len(json.dumps(request, ensure_ascii=False)) for request in missing)
        estimate = f"{len(missing)} judge calls, about {characters // CHARACTERS_PER_TOKEN:,} input tokens"
        if self._limit is not None and len(self) + len(missing) > self._limit:
            raise ConfigError(
                f"{label} needs {estimate}; with the {len(self)} decisions in {self._own.path} that is more than "
                f"the allowed {self._limit}",
                remedy="Increase max_calls (--max-judge-calls), or judge fewer responses",
            )
        tell(f"{label}: {estimate}; {len(self)} decisions are already stored")

    def _get(self, key: str) -> Answer | None:
        if key not in self._places:
            return None
        file, offset, length = self._places[key]
        answer: Answer = json.loads(os.pread(file, length, offset))["answer"]
        return answer

    def _store(self, key: str, request: Request, attempt: int, answer: Answer) -> None:
        line = _line(key, attempt, answer, request if self._with_requests else None, checked=True)
        self._places[key] = self._own.append(line)
        if time.monotonic() - self._synced >= _SYNC_EVERY_S:
            self.sync()


def has_decisions(path: Path) -> bool:
    """Whether a file has any."""
    return path.is_file() and path.stat().st_size > 0


@contextmanager
def decisions(path: Path, *, limit: int | None = None) -> Iterator[Decisions]:
    """Open a file of decisions; only one process at a time may have it open."""

    def busy(holder: Holder | None) -> None:
        who = f" ({holder})" if holder else ""
        raise ConfigError(f"{path}: another process is using it{who}", remedy="Wait until it ends")

    with waiting(path, busy), path.open("a+b") as file:
        store = Decisions(path, file, limit=limit)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def shared_decisions(folder: Path) -> Iterator[Decisions]:
    """Open a folder of decisions, in which each process that has it open writes a file of its own.

    All read all files. What two processes ask at the same moment, both ask: they are to ask of different prompts. The
    lines do not repeat the requests, which are most of what a judge of responses is given. The files are named by the
    machine, so that locks need not hold on the file systems that several machines share.

    Raises:
        DataError: a line is no decision.
        StorageError: the folder cannot be made.
    """
    make_directory(folder)
    with ExitStack() as stack:
        for number in itertools.count():
            path = folder / f"{socket.gethostname()}-{number}.jsonl"
            with suppress(HeldError):
                stack.enter_context(exclusive(path, path))
                break
        store = Decisions(path, stack.enter_context(path.open("a+b")), with_requests=False)
        stack.callback(store.close)
        store.read_others(folder)
        yield store


class _File:
    """A file of decisions; `end` is behind its last whole line that was read or written."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file, self.end = path, file, 0
        self._lines = 0

    def read_on(self) -> Iterator[tuple[str, _Place]]:
        """The keys of the lines behind `end`, and where each of them stands."""
        self.file.seek(self.end)
        for line in self.file:
            if not line.endswith(b"\n"):
                return
            self._lines += 1
            try:
                row = parse_json(line)
                key, damaged = row["key"], row.get(_CHECKSUM) not in (None, _checksum(row["key"], row["answer"]))
            except (ValueError, TypeError, KeyError, AttributeError):
                problem, remedy = "is not a judge's decision", "Delete the line, or choose another file"
                raise DataError(problem, path=self.path, row=self._lines, remedy=remedy) from None
            place = self._place(len(line))
            if damaged:
                _LOG.warning("%s, row %d: differs from its checksum, and is not used", self.path, self._lines)
            else:
                yield key, place

    def append(self, line: bytes) -> _Place:
        """Write a line; where it stands."""
        self.file.write(line)
        self.file.flush()  # with this a killed process loses nothing
        self._lines += 1
        return self._place(len(line))

    def _place(self, length: int) -> _Place:
        self.end += length
        return self.file.fileno(), self.end - length, length


def _line(key: str, attempt: int, answer: Answer, request: Request | None, *, checked: bool = False) -> bytes:
    line = {"key": key, "attempt": attempt, "answer": answer}
    if checked:
        line[_CHECKSUM] = _checksum(key, answer)
    if request is not None:
        line["request"] = request
    return json.dumps(line, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _checksum(key: str, answer: Answer) -> str:
    text = json.dumps([key, answer], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_filter(error: FilteredError) -> Answer:
    """What servers answer that do not refuse such a request: it is stored, too, and counts as one that is not read."""
    message = {"role": "assistant", "content": None, "refusal": error.problem.partition(": answered ")[2]}
    return {"choices": [{"index": 0, "finish_reason": "content_filter", "message": message}]}


def _key(request: Request, attempt: int) -> str:
    text = json.dumps([request, attempt], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
