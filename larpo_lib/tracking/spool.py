"""What waits for MLflow, on disk: one folder for each process, with a line for each thing that was logged."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from larpo_lib.errors import HeldError
from larpo_lib.files import make_directory
from larpo_lib.locks import exclusive

FOLDER = "waiting"
"""Of a store: what waits there."""
_LINES = "entries.jsonl"


class Spool:
    """What one process has logged and MLflow has not got yet. It is locked as long as the process lives.

    Args:
        folder: of the spool.

    Raises:
        HeldError: another process has it.
    """

    def __init__(self, folder: Path) -> None:
        self._held = ExitStack()
        self._held.enter_context(exclusive(folder / _LINES, folder))
        self.folder, self._file = folder, (folder / _LINES).open("a+", encoding="utf-8")
        self._files = 0

    @classmethod
    def make(cls, store: Path) -> Spool:
        """A new one, which is younger than all others in the store."""
        folder = store / FOLDER / f"{time.time_ns():020d}-{os.getpid()}"
        make_directory(folder)
        return cls(folder)

    @classmethod
    def left(cls, store: Path) -> list[Spool]:
        """Those of processes that have ended, the oldest first."""
        found = []
        for lines in sorted((store / FOLDER).glob(f"*/{_LINES}")):
            try:
                found.append(cls(lines.parent))
            except (HeldError, FileNotFoundError):  # its process is at work, or has just delivered it
                continue
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

    def remove(self) -> None:
        """Forget what has been delivered."""
        shutil.rmtree(self.folder)
        self._file.close()
        self._held.close()
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()

    def _placed(self, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry whose path holds wherever the spool was moved."""
        return {**entry, "path": str(self.folder / entry["path"])} if "path" in entry else entry
