"""Files against their checksums: many at a time, and a large one once for as long as it stays as it is."""

import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from larpo_lib.caches import cache_dir
from larpo_lib.errors import ArtifactError, StorageError
from larpo_lib.files import file_digest, make_directory, read_json, write_json

_LARGE = 2**20
"""Bytes; a smaller file is hashed sooner than it is looked up."""
_SETTLED_NS = 2 * 10**9
"""A file that was written later than this before it is hashed may change again within one tick of its clock."""


def differing(directory: Path, expected: Mapping[str, str]) -> list[str]:
    """The files of a directory that are missing or not as expected, in the order of `expected`.

    Which large files were as expected is remembered in the cache by size, time of change and inode. Where the cache
    cannot be read or written, all are hashed.

    Args:
        directory: where they are.
        expected: SHA-256, in hexadecimal, by the names of the files.
    """
    memory = cache_dir() / "checksums" / f"{hashlib.sha256(str(directory.absolute()).encode()).hexdigest()[:16]}.json"
    known = _read(memory)
    sound: dict[str, Any] = {}

    def is_sound(name: str) -> bool:
        file = directory / name
        if not file.is_file():
            return False
        now, status = time.time_ns(), file.stat()
        state = [status.st_size, status.st_mtime_ns, status.st_ino, expected[name]]
        if known.get(name) != state:
            if file_digest(file) != expected[name]:
                return False
            if status.st_size >= _LARGE and now - status.st_mtime_ns > _SETTLED_NS:
                sound[name] = state
        return True

    with ThreadPoolExecutor() as pool:
        found = dict(zip(expected, pool.map(is_sound, expected), strict=True))
    if sound:
        with suppress(StorageError, OSError):
            _write(memory, {**_read(memory), **sound})
    return [name for name, is_whole in found.items() if not is_whole]


def _read(memory: Path) -> dict[str, Any]:
    with suppress(ArtifactError):
        return read_json(memory, remedy="")
    return {}


def _write(memory: Path, known: Mapping[str, Any]) -> None:
    make_directory(memory.parent)
    write_json(memory, known)
