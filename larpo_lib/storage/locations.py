"""Where an object is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from larpo_lib.errors import StorageError


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


def is_remote(uri: str) -> bool:
    """Whether `uri` names an object store rather than a local path."""
    return "://" in uri
