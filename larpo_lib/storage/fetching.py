"""Fetches what a step reads into a cache, by content, and checks it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from larpo_lib import artifacts
from larpo_lib.errors import StorageError
from larpo_lib.files import write_json
from larpo_lib.locks import waiting
from larpo_lib.storage.client import CONNECTIONS, store_client
from larpo_lib.storage.failures import NotFoundError, s3_errors, with_retries
from larpo_lib.storage.locations import Location, is_remote
from larpo_lib.storage.manifests import Manifest, stored_manifest
from larpo_lib.storage.transfer import Transfer, keys_below, receive

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_LARGE = (".safetensors", ".parquet")


def fetch(uri: str, cache: Path, *, weights: bool = True) -> Path:
    """A local path with the content of `uri`: an object, an artifact, or any prefix as a directory.

    The cache is keyed by content (ETags, an artifact's manifest), so a changed object is fetched anew; what is in it is
    whole. An artifact is checked against its manifest, anything else against the checksums that the store has: larpo's
    own SHA-256, or an MD5, or at least the size. A local path is returned as it is.

    Args:
        uri: of what is wanted.
        cache: where it goes.
        weights: False: of an artifact the files that are named as weights and tables are not fetched.

    Raises:
        StorageError: there is nothing at `uri`, it is unfinished or damaged, or the store refuses the read or stays
            away.
    """
    if not is_remote(uri):
        return Path(uri)
    location, client = Location.parse(uri), store_client()
    contents = _contents(client, location)
    if not weights:
        contents = contents.without_weights()
    target = _target(cache, location, contents)
    with s3_errors(location), waiting_lock(target.parent):
        if not target.exists():
            partial = target.parent / f".{target.name}.partial"
            try:
                _download(client, location, contents, partial)
            except NotFoundError:
                if contents.manifest is None or not contents.manifest.staging:
                    raise
                moved_in = _contents(client, location)  # just now
                _download(client, location, moved_in if weights else moved_in.without_weights(), partial)
            _remove_strays(partial, contents.names)
            if not contents.whole:
                (partial / artifacts.SMALL_MARK).touch()
            partial.rename(target)
    return target


def keep(artifact: Path, uri: str, cache: Path) -> None:
    """Move a directory that was published at `uri` to where `fetch` finds it, or remove it if another is there.

    Args:
        artifact: on the disk of the cache.
        uri: where it was published.
        cache: as of `fetch`.

    Raises:
        StorageError: the store refuses the read or stays away.
    """
    location = Location.parse(uri)
    contents = _contents(store_client(), location)
    target = _target(cache, location, contents)
    with waiting_lock(target.parent):
        own = contents.manifest is not None and contents.manifest.content == artifacts.read_manifest(artifact)
        if own and not target.exists():
            artifact.rename(target)
        else:
            shutil.rmtree(artifact)


def _target(cache: Path, location: Location, contents: _Contents) -> Path:
    return cache / "fetched" / short_hash(f"{location}\0{contents.version}") / location.name


def short_hash(text: str) -> str:
    """A name for a folder of the cache."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Contents:
    """What is at a location.

    Attributes:
        names: of the objects below it; "" for the object itself.
        version: a text that changes with their content.
        manifest: of the artifact, where it is one.
        whole: whether `names` are all that is there.
    """

    names: list[str]
    version: str
    manifest: Manifest | None = None
    whole: bool = True

    def without_weights(self) -> _Contents:
        """Of an artifact its small files, beside the whole one in the cache; anything else as it is."""
        if self.manifest is None:
            return self
        names = [name for name in self.names if PurePosixPath(name).suffix not in _LARGE]
        return _Contents(names, f"{self.version}\0small files", self.manifest, whole=False)


def _contents(client: S3Client, location: Location) -> _Contents:
    try:
        head = with_retries(location, lambda: client.head_object(Bucket=location.bucket, Key=location.key))
        return _Contents([""], head["ETag"])
    except NotFoundError:
        manifest = stored_manifest(client, location)
    if manifest is not None:
        return _Contents(list(manifest.content["files"]), json.dumps(manifest.content, sort_keys=True), manifest)
    found = {key.removeprefix(f"{location.key}/"): etag for key, etag in keys_below(client, location).items()}
    if not found:
        raise NotFoundError(
            f"{location}: no such object or prefix", remedy="Check the URI, or run the step that makes it"
        )
    if artifacts.METRICS in found:
        raise StorageError(
            f"{location}: is an unfinished artifact (it has no {artifacts.MANIFEST} yet)",
            remedy="Wait for the step that makes it, or run the step again",
        )
    return _Contents(list(found), json.dumps(found, sort_keys=True))


def _download(client: S3Client, location: Location, contents: _Contents, partial: Path) -> None:
    """Fetch all into `partial`; what an earlier try has left there whole stays."""
    files = {name: partial / name if name else partial for name in contents.names}
    for name, file in files.items():
        if not file.resolve().is_relative_to(partial.resolve()):
            raise StorageError(f"{location / name}: the key points outside its directory", remedy="Rename the object")
        file.parent.mkdir(parents=True, exist_ok=True)
    if contents.manifest is not None:
        wanted = set(files.values())
        receive(client, [one for one in contents.manifest.transfers(partial, location) if one.file in wanted])
        write_json(partial / artifacts.MANIFEST, contents.manifest.content)
        return
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        known = pool.map(lambda name: Transfer.of_object(client, location / name, files[name]), files)
        receive(client, list(known))


def _remove_strays(partial: Path, names: list[str]) -> None:
    """Remove what downloads that broke off have left beside their files."""
    if partial.is_dir():
        whole = {artifacts.MANIFEST, *names}
        for file in list(partial.rglob("*")):
            if file.is_file() and file.relative_to(partial).as_posix() not in whole:
                file.unlink()


@contextmanager
def waiting_lock(directory: Path) -> Iterator[None]:
    """Hold the directory's lock: of several shards that fetch the same input, one does and the others wait."""
    with waiting(directory / ".lock"):
        yield
