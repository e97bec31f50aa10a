"""Directories that are no artifacts, such as checkpoints: whole where one file, which goes last, is there."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from larpo_lib.storage.client import CONNECTIONS, store_client
from larpo_lib.storage.failures import with_retries
from larpo_lib.storage.locations import Location
from larpo_lib.storage.transfer import Transfer, keys_below, send

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def put(files: Iterable[Path], uri: str) -> None:
    """Put files below `uri`, over what is there.

    Raises:
        StorageError: the store refuses the write or stays away.
    """
    location = Location.parse(uri)
    send(store_client(), [Transfer(file, location / file.name) for file in files])


def upload(directory: Path, uri: str, *, last: str) -> None:
    """Upload the files of a directory to `uri`, those in folders too.

    The one named `last` goes last: with it the directory is whole.

    Raises:
        StorageError: the store refuses the write or stays away.
    """
    location, client = Location.parse(uri), store_client()
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    transfers = [Transfer(file, location / file.relative_to(directory).as_posix()) for file in files]
    send(client, [transfer for transfer in transfers if transfer.file != directory / last])
    send(client, [transfer for transfer in transfers if transfer.file == directory / last])


def complete_directories(uri: str, *, last: str) -> list[str]:
    """URIs of the directories below `uri` that `upload` wrote to their end, by name.

    Raises:
        StorageError: the store refuses the read or stays away.
    """
    location = Location.parse(uri)
    keys = keys_below(store_client(), location)
    return sorted(f"s3://{location.bucket}/{key.rpartition('/')[0]}" for key in keys if key.endswith(f"/{last}"))


def delete(uri: str, *, first: str) -> None:
    """Delete all objects below `uri`, those named `first` before the others.

    Raises:
        StorageError: the store refuses or stays away.
    """
    location, client = Location.parse(uri), store_client()
    keys = keys_below(client, location)
    delete_keys(client, location, [key for key in keys if key.endswith(f"/{first}")])
    delete_keys(client, location, [key for key in keys if not key.endswith(f"/{first}")])


def delete_keys(client: S3Client, location: Location, keys: Iterable[str]) -> None:
    """Delete objects of a location's bucket, many at a time. One that is not there is deleted.

    Raises:
        StorageError: the store refuses or stays away.
    """

    def delete_one(key: str) -> None:
        with_retries(location, lambda: client.delete_object(Bucket=location.bucket, Key=key))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(delete_one, keys))
