"""Batches of a part of long work: each is kept as soon as it is done, so that a stop loses one at most.

Whoever works through a part opens its file; whoever computes in batches, below it, need not know.
"""

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from larpo_lib.heartbeat import mark

_LOG = logging.getLogger(__name__)

Work = Callable[[Sequence[int]], Sequence[Any]]
"""From the indices of a batch to a result for each: plain values, as JSON holds them."""
Content = Callable[[int], Any]
"""What the result at an index is of: all that decides it, as JSON holds it."""


@contextmanager
def kept_in(path: Path, advance: Callable[[float], None]) -> Iterator[None]:
    """Keep batches that are done within the block, and take those that an earlier block has kept.

    Args:
        path: of the file that keeps them; is removed where the block comes to its end.
        advance: told what share of the work is done after each batch of the first call of `in_batches`; further calls
            work on the same items again, as for another temperature.
    """
    token = _KEPT.set(_Kept(path, advance))
    try:
        yield
    finally:
        _KEPT.reset(token)
    path.unlink(missing_ok=True)


def in_batches(batches: Sequence[Sequence[int]], work: Work, content: Content) -> dict[int, Any]:
    """The result of each item by its index.

    Args:
        batches: indices.
        work: computes a batch.
        content: of the item at an index. What an earlier start kept is taken where a batch has the same content:
            indices may count other things, if they are cut by a setting that leaves the work the same.
    """
    kept = _KEPT.get()
    if kept is not None:
        return kept.complete(batches, work, content)
    return {index: value for batch in batches for index, value in zip(batch, work(batch), strict=True)}


class _Kept:
    """The file: a line for each batch, with a checksum, the number of the call, the batch's digest and its results.

    A line that differs from its checksum is passed over, and its batch computed again.
    """

    def __init__(self, path: Path, advance: Callable[[float], None]) -> None:
        self._path = path
        self._advance = advance
        self._calls = 0
        self._known: dict[tuple[int, str], Sequence[Any]] = {}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
            if not line.endswith(b"\n"):  # cut off by a kill
                break
            whole += len(line)
            checksum, _, said = line.partition(b" ")
            if checksum == _checksum(said):
                call, batch_digest, results = json.loads(said)
                self._known[call, str(batch_digest)] = results  # older versions have indices there, which match none
            else:
                _LOG.warning("%s: a batch differs from its checksum, and is computed again", path)
        if path.is_file():
            with path.open("r+b") as file:
                file.truncate(whole)

    def complete(self, batches: Sequence[Sequence[int]], work: Work, content: Content) -> dict[int, Any]:
        """Take what is known, and compute and keep the rest."""
        call, total = self._calls, sum(map(len, batches))
        self._calls += 1
        found: dict[int, Any] = {}
        with self._path.open("ab") as file:
            for batch in batches:
                batch_digest = _digest([content(index) for index in batch])
                results = self._known.get((call, batch_digest))
                if results is None:
                    results = work(batch)
                    line = json.dumps([call, batch_digest, list(results)]).encode() + b"\n"
                    file.write(_checksum(line) + b" " + line)
                    file.flush()
                    mark()
                found.update(zip(batch, results, strict=True))
                if call == 0:
                    self._advance(len(batch) / total)
        return found


def _digest(contents: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _checksum(line: bytes) -> bytes:
    return b"%08x" % zlib.crc32(line)


_KEPT: ContextVar[_Kept | None] = ContextVar("larpo_batches", default=None)
