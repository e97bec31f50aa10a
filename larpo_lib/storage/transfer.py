"""Many files at a time, and many parts of each, to and from the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larpo_lib.files import file_digest
from larpo_lib.storage.client import CONNECTIONS, attempts
from larpo_lib.storage.failures import (
    AlreadyExistsError,
    DamagedError,
    NotFoundError,
    RetryBudget,
    UnreachableError,
    s3_errors,
    with_retries,
)
from larpo_lib.storage.locations import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from s3transfer.futures import TransferFuture
    from s3transfer.manager import TransferManager

_PART_BYTES = 16 * 2**20
_DIGEST = "larpo-sha256"
"""Name of the checksum in an object's own metadata."""


@dataclass(frozen=True)
class Transfer:
    """A file and its object.

    Attributes:
        file: the local path.
        place: the object.
        sha256: of the content, in hexadecimal, where it is known.
        size: in bytes, where it is known.
        md5: of the content, in hexadecimal, where the store tells it.
    """

    file: Path
    place: Location
    sha256: str | None = None
    size: int | None = None
    md5: str | None = None

    @classmethod
    def of_object(cls, client: S3Client, place: Location, file: Path) -> Transfer:
        """To fetch an object, with the checksums that the store has of it.

        Raises:
            MissingError: there is no such object.
            StorageError: the store refuses.
        """
        head = with_retries(place, lambda: client.head_object(Bucket=place.bucket, Key=place.key))
        etag = head["ETag"].strip('"')
        encrypted = head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head
        md5 = None if encrypted or "-" in etag else etag  # else it is a hash of something else
        return cls(file, place, head.get("Metadata", {}).get(_DIGEST), head["ContentLength"], md5)

    def matches(self) -> bool:
        """Whether the file holds what is known of the object."""
        if not self.file.is_file() or self.size not in (None, self.file.stat().st_size):
            return False
        if self.sha256 is not None:
            return file_digest(self.file) == self.sha256
        if self.md5 is not None and len(self.md5) == 32:
            with self.file.open("rb") as content:
                md5 = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
                return md5.hexdigest() == self.md5
        return True


def receive(client: S3Client, transfers: Iterable[Transfer]) -> None:
    """Fetch objects into files, whose folders must be there. Files that are whole already are left alone.

    Raises:
        MissingError: an object is gone.
        DamagedError: what came is not what the store has.
        StorageError: the store refuses or stays away.
    """
    transfers = list(transfers)
    missing = [transfer for transfer in transfers if not transfer.matches()]

    def submit(manager: TransferManager, transfer: Transfer, progress: Any) -> TransferFuture:
        return manager.download(transfer.place.bucket, transfer.place.key, str(transfer.file), subscribers=progress)

    _run_transfers(client, missing, submit)
    for transfer in missing:
        if not transfer.matches():
            raise DamagedError(
                f"{transfer.place}: is damaged, or changed during the transfer",
                remedy="Run the same command again, or store it again",
            )


def send(client: S3Client, transfers: Iterable[Transfer]) -> None:
    """Store files as objects, over what is there.

    Raises:
        StorageError: the store refuses or stays away.
    """
    _run_transfers(client, list(transfers), _upload)


def send_if_absent(only_new: S3Client, transfers: Iterable[Transfer]) -> bool:
    """Store files where there is no object yet; nothing that is there is ever overwritten.

    Args:
        only_new: a client whose puts are refused where there is an object.
        transfers: with the `sha256` of each.

    Returns:
        Whether each place now holds its file's content. If not, somebody else's is there.

    Raises:
        UnconditionalError: the store cannot tell whether an object is new.
        StorageError: the store refuses or stays away.
    """
    transfers = list(transfers)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        digests = pool.map(lambda transfer: _stored_digest(only_new, transfer), transfers)
        stored = dict(zip(transfers, digests, strict=True))
    if any(digest not in (None, transfer.sha256) for transfer, digest in stored.items()):
        return False
    taken = _run_transfers(only_new, [transfer for transfer, digest in stored.items() if digest is None], _upload)
    return all(_stored_digest(only_new, transfer) == transfer.sha256 for transfer in taken)


def _upload(manager: TransferManager, transfer: Transfer, progress: Any) -> TransferFuture:
    digest = transfer.sha256 or file_digest(transfer.file)
    place, metadata = transfer.place, {"Metadata": {_DIGEST: digest}}
    return manager.upload(str(transfer.file), place.bucket, place.key, extra_args=metadata, subscribers=progress)


def _stored_digest(client: S3Client, transfer: Transfer) -> str | None:
    """Checksum of what is in a file's place; "" where that is not known, None where there is nothing."""
    try:
        return Transfer.of_object(client, transfer.place, transfer.file).sha256 or ""
    except NotFoundError:
        return None


def _run_transfers(
    client: S3Client, transfers: Sequence[Transfer], submit: Callable[[TransferManager, Transfer, Any], TransferFuture]
) -> list[Transfer]:
    """Run transfers together; those that a store's absence breaks run again when it is back.

    Returns:
        Those whose place was taken.
    """
    from s3transfer.manager import TransferConfig, TransferManager
    from s3transfer.subscribers import BaseSubscriber

    class Progress(BaseSubscriber):
        def on_progress(self, future: TransferFuture, bytes_transferred: int, **_: Any) -> None:
            patience.heard()

    config = TransferConfig(
        multipart_threshold=_PART_BYTES,
        multipart_chunksize=_PART_BYTES,
        max_request_concurrency=CONNECTIONS,
        num_download_attempts=min(2, attempts()),
    )
    taken, pending, patience = [], list(transfers), RetryBudget()
    while pending:
        broken, away = [], None
        with TransferManager(client, config) as manager:  # left by an exception, it cancels what is still running
            for transfer, future in [(transfer, submit(manager, transfer, [Progress()])) for transfer in pending]:
                try:
                    with s3_errors(transfer.place):
                        future.result()
                except AlreadyExistsError:
                    taken.append(transfer)
                except UnreachableError as error:
                    broken.append(transfer)
                    away = error
        if len(broken) < len(pending):
            patience.renew()
        if away is not None:
            patience.wait(away)
        pending = broken
    return taken


def keys_below(client: S3Client, location: Location) -> dict[str, str]:
    """Key and ETag of every object below `location`, but place holders of folders.

    Raises:
        StorageError: the store refuses or stays away.
    """

    def read() -> dict[str, str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=f"{location.key}/")
        found = {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}
        return {key: etag for key, etag in found.items() if not key.endswith("/")}

    return with_retries(location, read)
