"""Publishes artifacts: whole or not at all, and one only at each place.

The manifest is put with `If-None-Match: *`: of several publishers at the same instant the store takes one. Until then
nobody may touch what another has put there. So files, too, go only where there is nothing; who finds other content
there, of a publisher that died or is still at work, puts his files aside, into a folder named by their content. If his
manifest is then the one that is taken, it says so, and he moves the files to their places: nobody else can any more.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from larpo_lib import artifacts
from larpo_lib.errors import HeldError, StorageError
from larpo_lib.storage.client import store_client, store_name
from larpo_lib.storage.directories import delete_keys
from larpo_lib.storage.failures import AlreadyExistsError, ConditionalPutError, with_retries
from larpo_lib.storage.locations import Location
from larpo_lib.storage.manifests import Manifest, stored_manifest
from larpo_lib.storage.transfer import keys_below, send, send_if_absent

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def publish(directory: Path, uri: str) -> None:
    """Upload the artifact `directory` to `uri`. Its manifest goes last: with it the artifact is there, without it not.

    Whoever publishes the same artifact at the same time, or has done so, is no hindrance. A store that does not know
    `If-None-Match` is used without it, with a warning: then two that publish at the same instant may both believe that
    theirs is there.

    Raises:
        ArtifactError: `directory` is no artifact, or damaged.
        HeldError: somebody else has published what was made from the same, with other bytes: by another machine.
        StorageError: another artifact is at `uri`, or the store refuses the write or stays away.
    """
    location, client = Location.parse(uri), store_client()
    artifacts.verify(directory)
    own = Manifest(artifacts.read_manifest(directory))
    there = stored_manifest(client, location)
    if there is None:
        try:
            there = _put_first(client, store_client(only_new=True), own, directory, location)
        except ConditionalPutError:
            _warn(f"{store_name()} does not support If-None-Match")
            there = _put(client, own, directory, location)
    if there.content.get("fingerprint") == own.content["fingerprint"] and not there.same_artifact(own):
        raise HeldError(f"{uri}: another process has made it meanwhile", remedy="Run the same command again to take it")
    if not there.same_artifact(own):
        raise StorageError(f"{uri}: contains another artifact", remedy="Choose another URI, or delete that one")
    if there.staging:
        _move_from_staging(client, there, directory, location)


def _put_first(client: S3Client, only_new: S3Client, own: Manifest, directory: Path, location: Location) -> Manifest:
    """Put an artifact if nobody else does. Returns the manifest that is there in the end."""
    first, *others = own.transfers(directory, location)
    if not (send_if_absent(only_new, [first]) and send_if_absent(only_new, others)):
        own = Manifest(own.content, staging=f".{hashlib.sha256(own.encoded()).hexdigest()[:16]}")
        send(client, own.transfers(directory, location))
    if _put_manifest(only_new, own, location):
        if _put_manifest(only_new, own, location):  # the same bytes: nothing is lost if the store takes them
            _warn(f"{store_name()} ignores If-None-Match")
        return own
    there = stored_manifest(client, location)
    if there is None:
        raise StorageError(f"{location}: was deleted during the upload", remedy="Run the same command again")
    if own.staging and not there.same_artifact(own):
        _clear(client, own, location)
    return there


def _put(client: S3Client, own: Manifest, directory: Path, location: Location) -> Manifest:
    """Put an artifact over whatever is there."""
    first, *others = own.transfers(directory, location)
    send(client, [first])
    send(client, others)
    _put_manifest(client, own, location)
    return own


def _put_manifest(client: S3Client, manifest: Manifest, location: Location) -> bool:
    """Whether the store took it."""
    place = location / artifacts.MANIFEST
    try:
        with_retries(place, lambda: client.put_object(Bucket=place.bucket, Key=place.key, Body=manifest.encoded()))
    except AlreadyExistsError:
        return False
    return True


def _move_from_staging(client: S3Client, there: Manifest, directory: Path, location: Location) -> None:
    """Put the files of a published artifact to their places and remove them from aside."""
    _put(client, Manifest(there.content), directory, location)
    _clear(client, there, location)


def _clear(client: S3Client, staged: Manifest, location: Location) -> None:
    delete_keys(client, location, keys_below(client, location / staged.staging))


def _warn(problem: str) -> None:
    consequence = "if two jobs publish to the same URI at the same moment, one may overwrite the other"
    logging.getLogger(__name__).warning("%s: %s", problem, consequence)
