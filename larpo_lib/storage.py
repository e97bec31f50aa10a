"""Object storage at the edge of a step: `s3://` inputs are fetched to local paths, outputs published from them.

Credentials, region and endpoint come from the environment that boto3 reads (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_REGION, AWS_ENDPOINT_URL_S3, ...); no credential ever stands in a message.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from larpo_lib import artifacts
from larpo_lib.errors import ArtifactError, StorageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S, _ATTEMPTS = 3, 60, 4


def is_remote(uri: str) -> bool:
    """Whether `uri` names an object store rather than a local path."""
    return "://" in uri


def cache_dir() -> Path:
    """Where fetched objects are kept: LARPO_CACHE, else `larpo` in the user's cache directory."""
    if "LARPO_CACHE" in os.environ:
        return Path(os.environ["LARPO_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "larpo"


@contextmanager
def localize(
    inputs: Mapping[str, str], outputs: Mapping[str, str], cache: Path | None = None
) -> Iterator[dict[str, Path]]:
    """Local paths for a step's arguments; remote outputs are published when the block ends without an error.

    An output that is published already is fetched first, so that the step finds it as it would find a local one: made
    with the same settings it is done, made otherwise it is refused. After an error the local output stays in the cache
    and the next attempt goes on from it.

    Args:
        inputs: argument name -> local path or s3:// URI of what the step reads.
        outputs: argument name -> local path or s3:// URI of the artifact the step makes.
        cache: where remote things live locally; `cache_dir()` if not given.

    Raises:
        StorageError: the store refuses a read or a write, or a URI is not one.
    """
    cache = cache or cache_dir()
    paths = {name: fetch(uri, cache) for name, uri in inputs.items()}
    to_publish = {}
    for name, uri in outputs.items():
        if not is_remote(uri):
            paths[name] = Path(uri)
            continue
        paths[name] = cache / "outputs" / _short_hash(uri) / _parse(uri).name
        if not paths[name].exists() and _manifest(_client(), _parse(uri)) is not None:
            paths[name] = fetch(uri, cache)
        else:
            to_publish[name] = uri
    yield paths
    for name, uri in to_publish.items():
        publish(paths[name], uri)
        shutil.rmtree(paths[name])


def fetch(uri: str, cache: Path) -> Path:
    """A local path with the content of `uri`: an object, an artifact, or any prefix as a directory.

    The cache is keyed by content (ETags, an artifact's manifest), so a changed object is fetched anew; what is in it is
    whole. An artifact is checked against its manifest. A local path is returned as it is.

    Raises:
        StorageError: there is nothing at `uri`, it is unfinished or damaged, or the store refuses the read.
    """
    if not is_remote(uri):
        return Path(uri)
    location, client = _parse(uri), _client()
    with _s3_errors(location):
        files, version = _contents(client, location)
        target = cache / "fetched" / _short_hash(f"{location}\0{version}") / location.name
        with _waiting_lock(target.parent):
            if not target.exists():
                partial = target.parent / f".{target.name}.partial"
                _download(client, location, files, partial)
                partial.rename(target)
    return target


def publish(directory: Path, uri: str) -> None:
    """Upload the artifact `directory` to `uri`. Its manifest goes last: with it the artifact is there, without it not.

    Raises:
        ArtifactError: `directory` is no artifact, or damaged.
        StorageError: another artifact is at `uri`, or the store refuses the write.
    """
    location, client = _parse(uri), _client()
    artifacts.verify(directory)
    manifest = artifacts.read_manifest(directory)
    existing = _manifest(client, location)
    if existing is not None:
        if any(existing.get(key) != manifest[key] for key in ("fingerprint", "files")):
            raise StorageError(f"{uri}: holds another artifact", remedy="Choose another URI, or delete that one")
        return
    # Metrics first: they mark the prefix as an artifact, so that without a manifest it is known to be unfinished.
    for name in (*sorted(manifest["files"], key=lambda name: name != artifacts.METRICS), artifacts.MANIFEST):
        with _s3_errors(location / name), (directory / name).open("rb") as file:
            client.upload_fileobj(file, location.bucket, (location / name).key)


def upload(directory: Path, uri: str, *, last: str) -> None:
    """Upload the files of a directory to `uri`. The one named `last` goes last: with it the directory is whole.

    Raises:
        StorageError: the store refuses the write.
    """
    location, client = _parse(uri), _client()
    for name in sorted((file.name for file in directory.iterdir()), key=lambda name: (name == last, name)):
        with _s3_errors(location / name), (directory / name).open("rb") as file:
            client.upload_fileobj(file, location.bucket, (location / name).key)


def whole_directories(uri: str, *, last: str) -> list[str]:
    """URIs of the directories below `uri` that `upload` wrote to their end, by name.

    Raises:
        StorageError: the store refuses the read.
    """
    location = _parse(uri)
    with _s3_errors(location):
        keys = _keys(_client(), location)
    return sorted(f"s3://{location.bucket}/{key.rpartition('/')[0]}" for key in keys if key.endswith(f"/{last}"))


def delete(uri: str, *, first: str) -> None:
    """Delete all objects below `uri`, the one named `first` before the others.

    Raises:
        StorageError: the store refuses.
    """
    location, client = _parse(uri), _client()
    with _s3_errors(location):
        for key in sorted(_keys(client, location), key=lambda key: not key.endswith(f"/{first}")):
            client.delete_object(Bucket=location.bucket, Key=key)


@dataclass(frozen=True)
class _Location:
    bucket: str
    key: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    def __truediv__(self, name: str) -> _Location:
        return _Location(self.bucket, f"{self.key}/{name}" if name else self.key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def _parse(uri: str) -> _Location:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    key = key.strip("/")
    if scheme != "s3" or not bucket or not key or {".", ".."} & set(key.split("/")):
        raise StorageError(f"{uri}: is not of the form s3://bucket/key", remedy="Give an s3:// URI or a local path")
    return _Location(bucket, key)


def _client() -> S3Client:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    endpoint = _endpoint()
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        # Stores other than AWS may not know the trailing checksums that botocore adds since 1.36.
        request_checksum_calculation="when_required" if endpoint else None,
        response_checksum_validation="when_required" if endpoint else None,
    )
    try:
        return boto3.Session().client("s3", endpoint_url=endpoint, config=config)
    except (ValueError, BotoCoreError) as error:  # their texts may quote a password in the URL
        problem = f"the AWS settings of the environment cannot be used ({type(error).__name__})"
        raise StorageError(problem, remedy="Check AWS_ENDPOINT_URL_S3 (http(s)://host:port) and AWS_PROFILE") from None


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _contents(client: S3Client, location: _Location) -> tuple[list[str], str]:
    """Names of the objects below `location` ("" for the object itself), and a text that changes with their content."""
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=location.bucket, Key=location.key)
    except ClientError as error:
        if _code(error) not in ("404", "NoSuchKey"):
            raise
    else:
        return [""], head["ETag"]
    manifest = _manifest(client, location)
    if manifest is not None:
        return [*manifest["files"], artifacts.MANIFEST], json.dumps(manifest, sort_keys=True)
    found = {key.removeprefix(f"{location.key}/"): etag for key, etag in _keys(client, location).items()}
    if not found:
        raise StorageError(f"{location}: no such object or prefix", remedy=_REMEDIES["NoSuchKey"][1])
    if artifacts.METRICS in found:
        raise StorageError(
            f"{location}: is an unfinished artifact (it has no {artifacts.MANIFEST} yet)",
            remedy="Let the step that makes it finish, or run it again",
        )
    return list(found), json.dumps(found, sort_keys=True)


def _keys(client: S3Client, location: _Location) -> dict[str, str]:
    """Key and ETag of every object below `location`."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=f"{location.key}/")
    return {
        item["Key"]: item["ETag"]
        for page in pages
        for item in page.get("Contents", [])
        if not item["Key"].endswith("/")  # a folder's place holder
    }


def _manifest(client: S3Client, location: _Location) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    place = location / artifacts.MANIFEST
    with _s3_errors(place):
        try:
            body = client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()
        except ClientError as error:
            if _code(error) == "NoSuchKey":
                return None
            raise
    try:
        manifest: dict[str, Any] = json.loads(body)
        manifest["files"]
    except (ValueError, TypeError, KeyError):
        raise StorageError(f"{place}: is no manifest", remedy="Delete it and publish the artifact again") from None
    return manifest


def _download(client: S3Client, location: _Location, files: list[str], partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial)
    for name in files:
        file = partial / name if name else partial
        if not file.resolve().is_relative_to(partial.resolve()):
            raise StorageError(f"{location / name}: the key leads out of its directory", remedy="Rename the object")
        file.parent.mkdir(parents=True, exist_ok=True)
        with _s3_errors(location / name), file.open("wb") as stream:
            client.download_fileobj(location.bucket, (location / name).key, stream)
    if artifacts.MANIFEST in files:
        try:
            artifacts.verify(partial)
        except ArtifactError as error:
            raise StorageError(f"{location}: is damaged: {error.problem}", remedy="Publish it again") from error


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _waiting_lock(directory: Path) -> Iterator[None]:
    """Hold the directory's lock: of several shards that fetch the same input, one does and the others wait."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_REMEDIES = {
    "NoSuchBucket": ("no such bucket", "Create it, or check its name and the endpoint"),
    "NoSuchKey": ("no such object", "Check the key, or run the step that makes it"),
    "AccessDenied": ("access denied", "Grant s3:GetObject, s3:PutObject and s3:ListBucket to these credentials"),
    "InvalidAccessKeyId": ("the store does not know these credentials", "Check AWS_ACCESS_KEY_ID and the endpoint"),
    "SignatureDoesNotMatch": ("the store refuses these credentials", "Check AWS_SECRET_ACCESS_KEY"),
    "ExpiredToken": ("the credentials have expired", "Renew them"),
    "PermanentRedirect": ("the bucket is in another region", "Set AWS_REGION to the bucket's"),
}
_NO_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
_ALIASES = {"404": "NoSuchKey", "403": "AccessDenied", "301": "PermanentRedirect"}


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


@contextmanager
def _s3_errors(location: _Location) -> Iterator[None]:
    """Turn what boto3 raises into a StorageError. Their texts are left out: they may quote headers."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except exceptions.ClientError as error:
        code = _code(error)
        problem, remedy = _REMEDIES.get(_ALIASES.get(code, code), (f"the store answered '{code}'", "Try again"))
        raise StorageError(f"{location}: {problem}", remedy=remedy) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise StorageError(f"{location}: no credentials", remedy=_NO_CREDENTIALS) from None
    except (exceptions.HTTPClientError, exceptions.ConnectionError, RetriesExceededError):
        host = urlsplit(_endpoint() or "").netloc.rpartition("@")[2]  # without any user:password@
        raise StorageError(
            f"{location}: {host or 'AWS S3'} cannot be reached, or broke off",
            remedy="Check AWS_ENDPOINT_URL_S3 and the network, and run the same command again",
        ) from None
    except (exceptions.BotoCoreError, Boto3Error) as error:
        raise StorageError(f"{location}: the request failed ({type(error).__name__})", remedy="Check the URI") from None
    except OSError as error:
        raise StorageError(
            f"{location}: {error.filename or 'the cache'} cannot be used: {error.strerror}",
            remedy="Free space, or set LARPO_CACHE to a directory that can be written",
        ) from error
