"""What waits for MLflow, on disk: one folder for each process, with a line for each thing that was logged.

Of a run in a store these folders are put there too before a process ends, for its disk may end with it. Whoever comes
next takes them from there.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from larpo_lib.errors import HeldError, StorageError
from larpo_lib.files import make_directory
from larpo_lib.locks import exclusive
from larpo_lib.storage import cache_dir, complete_directories, delete, fetch, upload
from larpo_lib.storage.failures import NotFoundError
from larpo_lib.storage.holding import exclusive_run

FOLDER = "waiting"
"""Of a store: what waits there."""
_LINES = "entries.jsonl"


class Spool:
    """What one process has logged and MLflow has not got yet. It is locked as long as the process lives.

    Args:
        folder: of the spool.
        stored: s3:// URI of the same in a store, where it is or may be put.

    Raises:
        HeldError: another process has it.
    """

    def __init__(self, folder: Path, stored: str | None = None) -> None:
        self._held, self._stored = ExitStack(), stored
        self._held.enter_context(exclusive(folder / _LINES, folder))
        self.folder, self._file = folder, (folder / _LINES).open("a+", encoding="utf-8")
        self._files = 0

    @classmethod
    def make(cls, store: Path, beside: str | None = None) -> Spool:
        """A new one, which is younger than all others in the store; `beside` as of `left`."""
        folder = store / FOLDER / f"{time.time_ns():020d}-{os.getpid()}"
        make_directory(folder)
        return cls(folder, _stored(beside, folder.name))

    @staticmethod
    def names(store: Path, beside: str | None = None) -> list[str]:
        """The names of what waits, the oldest first; arguments as of `left`."""
        found = {lines.parent.name for lines in (store / FOLDER).glob(f"*/{_LINES}")}
        if beside is not None:
            found |= {uri.rpartition("/")[2] for uri in complete_directories(f"{beside}/{FOLDER}", last=_LINES)}
        return sorted(found)

    @classmethod
    def left(cls, store: Path, beside: str | None = None) -> list[Spool]:
        """Those of processes that have ended, the oldest first.

        Args:
            store: directory that holds the folder `waiting`.
            beside: s3:// URI of what corresponds to it in a store; None: there is none.
        """
        found = []
        for name in cls.names(store, beside):
            # Its process is at work, or has just delivered it.
            with suppress(HeldError, FileNotFoundError, NotFoundError), ExitStack() as held:
                if beside is not None:
                    held.enter_context(exclusive_run(f"{beside}/held/{name}"))
                    _bring(store / FOLDER / name, f"{beside}/{FOLDER}/{name}")
                spool = cls(store / FOLDER / name, _stored(beside, name))
                spool._held.push(held.pop_all())
                if beside is not None:
                    atexit.register(spool._held.close)  # a note in a store does not go with the process
                found.append(spool)
        return found

    def read(self) -> list[dict[str, Any]]:
        """What waits, in the order in which it was logged. Of a line that a kill cut off nothing is known."""
        self._file.seek(0)
        whole = [line for line in self._file if line.endswith("\n")]
        return [self._placed(json.loads(line)) for line in whole]

    def add(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an entry, and a copy of the file or folder that it names, which may not be there for long.

        Returns:
            The entry, which now names the copy.
        """
        kept = dict(entry)
        if "path" in entry:
            source = Path(entry["path"])
            self._files += 1
            copy = self.folder / str(self._files) / source.name
            copy.parent.mkdir()
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                shutil.copyfile(source, copy)
            kept["path"] = copy.relative_to(self.folder).as_posix()
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(kept) + "\n")
        self._file.flush()
        return self._placed(kept)

    def put(self) -> None:
        """Put it beside the run in the store, and leave it to whoever comes next.

        Raises:
            StorageError: the store refuses or stays away.
        """
        assert self._stored is not None
        upload(self.folder, self._stored, last=_LINES)
        self._held.close()

    def remove(self) -> None:
        """Forget what has been delivered."""
        shutil.rmtree(self.folder)
        self._file.close()
        if self._stored is not None:
            with suppress(StorageError):  # what is delivered again is delivered once
                delete(self._stored, first=_LINES)
        self._held.close()
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()

    def _placed(self, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry whose path holds wherever the spool was moved."""
        return {**entry, "path": str(self.folder / entry["path"])} if "path" in entry else entry


def _stored(beside: str | None, name: str) -> str | None:
    return None if beside is None else f"{beside}/{FOLDER}/{name}"


def _bring(folder: Path, uri: str) -> None:
    """A folder of a store, unless it is here already; without the notes of who held it where it was."""
    if not (folder / _LINES).exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fetch(uri, cache_dir()), folder, ignore=shutil.ignore_patterns("*.holder"))
