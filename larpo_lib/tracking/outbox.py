"""What is logged, on its way to MLflow: delivered at once, or kept on disk while MLflow is away.

A thread delivers, in the order in which things were logged, so that whoever logs waits only so long. Delivering twice
is delivering once (see `server`), so a process may end at any instant.
"""

import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Any

from larpo_lib.errors import StorageError, TrackingError
from larpo_lib.redaction import redact
from larpo_lib.tracking.client import InvalidError, one_line
from larpo_lib.tracking.server import FoundRun, RunRef, Server
from larpo_lib.tracking.spool import FOLDER, Spool

_PATIENCE_S = 20.0
"""Seconds without progress after which MLflow counts as away. Training waits for it that long once."""
_PAUSE_S = 30.0
"""Seconds between two tries to reach it."""
_OWN_PATIENCE_S = 180.0
"""Seconds in which MLflow's client tries again by itself what it began while the server was away."""

_LOG = logging.getLogger(__name__)


@dataclass
class _Item:
    """One thing on its way."""

    entry: Mapping[str, Any]
    kept: bool = False
    done: bool = False
    error: Exception | None = None


class Outbox:
    """Delivers to an MLflow, and first of all what earlier processes could not.

    Args:
        server: where to.
        store: directory where things wait in the folder `waiting`; made only if something has to wait.
        beside: s3:// URI where they wait too once a process ends; see `Spool.left`.
    """

    def __init__(self, server: Server, store: Path, beside: str | None = None) -> None:
        self.server = server
        self._store, self._beside = store, beside
        self._spools = Spool.left(store, beside)
        self._queue = deque(_Item(entry, kept=True) for spool in self._spools for entry in spool.read())
        self._own: Spool | None = None
        self._turn = Condition()
        self._worker: Thread | None = None
        self._away = False
        self._delivered = 0
        self._next_try = 0.0

    def send(self, entry: Mapping[str, Any]) -> None:
        """Deliver, or keep for later: at most `_PATIENCE_S` pass, and none while MLflow is known to be away.

        Raises:
            TrackingError: MLflow cannot take this, at no time.
            OSError: the disk does not take what has to wait.
        """
        item = _Item(entry)
        with self._turn:
            self._queue.append(item)
            self._start()
            if not self._away:
                self._turn.wait_for(lambda: item.done or self._away, _PATIENCE_S)
            if not item.done:
                self._keep(f"it has not answered for {_PATIENCE_S:g} seconds")
        if item.error is not None:
            raise item.error

    def settle(self, patience_s: float | None = None) -> bool:
        """Try to deliver all that waits, as long as there is progress; returns whether nothing waits any more."""
        patience_s = _PATIENCE_S if patience_s is None else patience_s
        with self._turn:
            tries = 1 if self._worker is None else 2  # one that began earlier may fail of how things were
            while self._queue and tries:
                tries -= 1
                self._next_try = 0.0
                self._start()
                while self._worker is not None:
                    if not self._progress(patience_s):
                        tries = 0
                        break
            if self._queue:
                self._keep(f"it has not answered for {patience_s:g} seconds")
            return not self._queue

    def leave(self) -> None:
        """Before a process ends: keep what waits where it outlives this machine, and say where it is.

        Raises:
            StorageError: the store refuses or stays away.
        """
        with self._turn:
            if not self._queue:
                return
            if self._beside is None:
                text = "What was logged still waits in %s. Run the same command again to deliver it."
                _LOG.warning(text, self._store / FOLDER)
                return
            for spool in [*self._spools, *([self._own] if self._own else [])]:
                spool.put()
            text = (
                "What was logged still waits at %s. The next step of the run delivers it, or the run submitted again."
            )
            _LOG.warning(text, f"{self._beside}/{FOLDER}")

    def require(self, ref: RunRef, purpose: str) -> FoundRun:
        """A run as MLflow has it, now; `purpose` and errors as of `deliver`."""
        self.deliver(purpose)
        return self.server.run(ref)

    def deliver(self, purpose: str) -> None:
        """Deliver all that waits.

        Args:
            purpose: what needs MLflow, for the error.

        Raises:
            TrackingError: MLflow is away.
        """
        if not self.settle() and not (self.server.answers() and self.settle(_OWN_PATIENCE_S)):
            raise TrackingError(
                f"MLflow at {redact(self.server.uri)} does not answer, and {purpose} needs it",
                remedy="Start the server, then run the same command again: what is done is kept",
                transient=True,
            )

    def _progress(self, patience_s: float) -> bool:
        before = self._delivered
        return self._turn.wait_for(lambda: self._delivered > before or self._worker is None, patience_s)

    def _start(self) -> None:
        if self._queue and self._worker is None and not (self._away and monotonic() < self._next_try):
            self._worker = Thread(target=self._work, name="mlflow", daemon=True)
            self._worker.start()

    def _work(self) -> None:
        try:
            if self._away:
                self.server.probe()  # told within seconds, where a request would be repeated for minutes
            while self._take_next():
                pass
        except TrackingError as error:
            with self._turn:
                self._next_try = monotonic() + _PAUSE_S
                self._worker = None
                with suppress(OSError, StorageError):  # whoever logs keeps it too, and is told of a broken disk
                    self._keep(error.problem)
                self._turn.notify_all()

    def _take_next(self) -> bool:
        """Deliver one item; returns whether there was one."""
        with self._turn:
            if not self._queue:
                self._drained()
                return False
            item = self._queue[0]
        error: Exception | None = None
        try:
            self.server.deliver(item.entry)
        except TrackingError as refused:
            if not isinstance(refused, InvalidError):
                raise
            error = refused
        except Exception as unforeseen:  # for whoever logged it
            error = unforeseen
        with self._turn:
            self._queue.popleft()
            item.done, item.error = True, error
            self._delivered += 1
            if error is not None and item.kept:
                _LOG.warning("Left out of what waited for MLflow: %s", one_line(error))
            self._turn.notify_all()
        return True

    def _drained(self) -> None:
        for spool in [*self._spools, *([self._own] if self._own else [])]:
            with suppress(OSError):  # of a broken disk: what is delivered again is delivered once
                spool.remove()
        if self._away:
            _LOG.info("MLflow at %s answers again, and has got all that waited for it", redact(self.server.uri))
        self._spools, self._own, self._away, self._worker = [], None, False, None
        self._turn.notify_all()

    def _keep(self, why: str) -> None:
        """Keep what has not been delivered on the disk, and say so once."""
        if not self._away:
            self._away = True
            _LOG.warning(
                "MLflow is away: %s. What is logged waits in %s and is delivered later.", why, self._store / FOLDER
            )
        for item in self._queue:
            if not item.kept:
                self._own = self._own or Spool.make(self._store, self._beside)
                item.entry, item.kept = self._own.add(item.entry), True
