"""Where an object is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from larpo_lib.errors import StorageError

_OTHER_URI = re.compile(r"(?!s3://)([A-Za-z][A-Za-z0-9+.-]*:/|(?i:file|s3):)")


@dataclass(frozen=True)
class Location:
    """An object, or the objects below a prefix.

    Attributes:
        bucket: its bucket.
        key: the object's key, or the prefix without a slash at its end.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Location:
        """What an s3:// URI names. Raises StorageError if it is not one."""
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        key = key.strip("/")
        if scheme != "s3" or not bucket or not key or {".", ".."} & set(key.split("/")):
            raise StorageError(f"{uri}: is not in the form s3://bucket/key", remedy="Use an s3:// URI or a local path")
        return cls(bucket, key)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    def __truediv__(self, name: str) -> Location:
        return Location(self.bucket, f"{self.key}/{name}" if name else self.key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def located(text: str) -> str:
    """A local path or s3:// URI as a user wrote it, `~` for the home directory among them.

    Raises:
        StorageError: it is a URI of another kind, which would else be taken for a directory of that name.
    """
    if _OTHER_URI.match(text):
        raise StorageError(
            f"{text}: is neither a local path nor in the form s3://bucket/key",
            remedy="Use an s3:// URI or a local path; for a path that begins so, put ./ before it",
        )
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise StorageError(f"{text}: there is no such user", remedy="Put ./ before a path that begins so") from None


def located_here(path: Path) -> Path:
    """As `located`, of what must be on this machine.

    Raises:
        StorageError: it was a URI.
    """
    text = str(path)
    if _OTHER_URI.match(text):  # with one slash, as paths have no two
        raise StorageError(
            f"{text.replace(':/', '://', 1)}: must be a local path, not a URI", remedy="Use a local path"
        )
    return Path(located(text))


def is_remote(uri: str) -> bool:
    """Whether `uri` names an object store rather than a local path."""
    return "://" in uri
