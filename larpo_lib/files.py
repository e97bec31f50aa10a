"""Files that are whole or absent, and what a full disk says."""

import errno
import hashlib
import json
import logging
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from larpo_lib.errors import ArtifactError, LarpoError, StorageError
from larpo_lib.parsing import parse_json

_LOG = logging.getLogger(__name__)
_REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # full
    | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EXDEV, errno.ELOOP, errno.ENAMETOOLONG}  # refused
    | {errno.EIO, errno.ESTALE}  # broken, or gone
)
_TOLD = re.compile(r"\(os error (\d+)\)(?: at path \"([^\"]*)\")?")
"""What libraries in Rust, such as safetensors and tokenizers, say of an error of the operating system."""
_FULL = re.compile(
    r"database or disk is full|^\d+ requested and \d+ written"
    r"|PytorchStreamWriter failed writing|inline_container\.cc:\d+\] \. unexpected pos"
    r"|^write\(\): fd \d+ failed with No space"
)
"""What SQLite, torch.save and np.save say where not all could be written; they have no number for it."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_output(path: Path) -> None:
    """Check that a directory can be made of that name, before any work.

    Raises:
        StorageError: it is the working directory, or one above it, or ends in `..`.
    """
    if path.name in ("", "..") or Path.cwd().is_relative_to(os.path.normpath(Path.cwd() / path)):
        raise StorageError(
            f"'{path}': is the working directory or one above it, and cannot be an output",
            remedy="Choose a directory of its own, which need not be there",
        )


def make_directory(path: Path) -> None:
    """Make a directory, with its parents, unless it is there. Raises StorageError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        link = next((each for each in (path, *path.parents) if each.is_symlink() and not each.exists()), None)
        why = error.strerror if link is None else f"{link} is a link to {link.readlink()}, which does not exist"
        raise StorageError(f"{path}: cannot be created: {why}", remedy="Choose another directory") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the same value gives the same bytes and a crash leaves the old file or the new one."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, remedy: str) -> dict[str, Any]:
    """A file that holds a JSON object. Raises ArtifactError, with what to do about it, where there is no such file."""
    try:
        value = parse_json(path.read_text("utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it does not contain a JSON object")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ArtifactError(f"{path}: cannot be read: {why}", remedy=remedy) from None
    return value


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a line of JSON for each row, the file whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_json_lines(path: Path) -> list[Any]:
    """What `write_json_lines` wrote. Lines end with a newline alone: texts hold what else ends lines in Unicode.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no JSON, or the file is not UTF-8.
    """
    return [parse_json(line) for line in path.read_text("utf-8").split("\n") if line]


def write_text(path: Path, text: str) -> None:
    """Write a text so that a crash leaves the old file or the new one, whoever else writes it at the same time."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def seal(temporary: Path, path: Path) -> None:
    """Move a whole file of half-done work to its place, with its checksum beside it, which `is_sealed` looks at."""
    write_text(_seal_of(path), file_digest(temporary))
    temporary.replace(path)


def is_sealed(path: Path) -> bool:
    """Whether a file is as `seal` left it. One that is damaged is removed, which is told: it is to be made again."""
    if not path.is_file():
        return False
    with suppress(OSError, ValueError):
        if _seal_of(path).read_text("ascii") == file_digest(path):
            return True
    _LOG.warning("%s: differs from its checksum, and is made again", path)
    path.unlink()
    return False


def _seal_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def sync(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(output: Path) -> Iterator[None]:
    """Tell a full or broken disk or a refused access, while `output` is made, as a StorageError."""
    try:
        yield
    except Exception as error:
        told = refusal(error)
        if told is None:
            raise
        raise StorageError(
            f"{output}: cannot be created: {told}",
            remedy="Fix this, or choose another output, and run the same command again; it continues where it stopped",
        ) from error


def refusal(error: Exception) -> str | None:
    """What a disk refused, and of which file if that is known; None if `error` is of something else."""
    if isinstance(error, LarpoError):
        return None
    number, file = (error.errno, error.filename) if isinstance(error, OSError) else (None, None)
    if number is None and (told := _TOLD.search(str(error))):
        number, file = int(told[1]), told[2]
    if number is None and _FULL.search(str(error)):
        number = errno.ENOSPC
    return os.strerror(number) + (f" ({file})" if file else "") if number in _REFUSALS else None
