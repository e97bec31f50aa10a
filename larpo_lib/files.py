"""Files that are whole or absent, locks that die with their process, and what a full disk says."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from larpo_lib.errors import ArtifactError, StorageError

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_directory(path: Path) -> None:
    """Make a directory, with its parents, unless it is there. Raises StorageError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be created: {error.strerror}", remedy="Choose another directory") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the same value gives the same bytes and a crash leaves the old file or the new one."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a line of JSON for each row."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text so that a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(output: Path) -> Iterator[None]:
    """Tell a full disk or a refused access, while `output` is made, as a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise StorageError(
            f"{output}: cannot be created: {error.strerror}" + (f" ({error.filename})" if error.filename else ""),
            remedy="Fix this, or choose another output, and run the same command again; it continues where it stopped",
        ) from error


@contextmanager
def exclusive(path: Path, output: Path) -> Iterator[None]:
    """Hold the lock `path` of an output; the kernel gives it back when the process dies, however it dies.

    Raises:
        ArtifactError: another process holds it.
    """
    make_directory(path.parent)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"{output}: another process is writing it", remedy="Wait until it ends, or choose another output"
            ) from None
        yield
