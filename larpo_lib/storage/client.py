"""The connection to the store, as the environment describes it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from larpo_lib.environment import seconds
from larpo_lib.errors import StorageError

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client

CONNECTIONS = 16
_CONNECT_S, _LEAST_S, _MOST_S, _ATTEMPTS = 3.0, 5.0, 45.0, 3


def store_client(*, only_new: bool = False) -> S3Client:
    """This process's client for the store of the environment: made when it is first asked for, and used by all threads.

    Other settings or credentials in the environment or in its files, and a forked process, get a client of their own.

    Args:
        only_new: as of `make_client`.

    Raises:
        StorageError: the environment's settings cannot be used.
    """
    settings = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    return _client(os.getpid(), settings, _file_times(), patience_s(), only_new)


@functools.lru_cache(maxsize=4)
def _client(
    _process: int, _settings: tuple[Any, ...], _times: tuple[int, ...], _patience: float, only_new: bool
) -> S3Client:
    return make_client(only_new=only_new)


def _file_times() -> tuple[int, ...]:
    """When the files with settings and credentials were changed: boto3 reads them once a client."""
    names = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
    files = [Path(os.environ.get(name) or usual).expanduser() for name, usual in names.items()]
    return tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files)


def make_client(*, only_new: bool = False) -> S3Client:
    """A new client for the store of the environment.

    Args:
        only_new: every put says `If-None-Match: *`, so that it is refused where there is an object already.

    Raises:
        StorageError: the environment's settings cannot be used.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    endpoint = _endpoint()
    foreign = endpoint is not None and not _host(endpoint).partition(":")[0].endswith(".amazonaws.com")
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if foreign else "auto"},
        connect_timeout=min(_CONNECT_S, silence_s()),
        read_timeout=silence_s(),
        retries={"mode": "standard", "total_max_attempts": attempts()},
        max_pool_connections=CONNECTIONS,
        # Stores other than AWS may not know the trailing checksums that botocore adds since 1.36.
        request_checksum_calculation="when_required" if foreign else None,
        response_checksum_validation="when_required" if foreign else None,
    )
    region = os.environ.get("AWS_REGION") or None  # boto3 itself reads AWS_DEFAULT_REGION only
    try:
        core = Session()
        core.register_component("data_loader", _interfaces())
        session = boto3.Session(botocore_session=core, region_name=region)
        client = session.client("s3", endpoint_url=endpoint, config=config)
    except (ValueError, BotoCoreError) as error:  # their texts may quote a password in the URL
        problem = f"the AWS settings of the environment are invalid ({type(error).__name__})"
        raise StorageError(problem, remedy="Check AWS_ENDPOINT_URL_S3 (http(s)://host:port) and AWS_PROFILE") from None
    if only_new:
        for operation in ("PutObject", "CompleteMultipartUpload"):
            client.meta.events.register(f"before-call.s3.{operation}", _only_if_new)
    return client


def patience_s() -> float:
    """Seconds for which a store that is away is waited for: LARPO_S3_PATIENCE, 180 if not set."""
    return seconds("LARPO_S3_PATIENCE", 180.0)


def silence_s() -> float:
    """Seconds without a byte after which a store has hung: a quarter of the patience, for a try and a repeated one."""
    return min(_MOST_S, max(_LEAST_S, patience_s() / 4))


def attempts() -> int:
    """How often boto3 itself tries: as often as a store may hang within the patience, and three times at most."""
    return int(min(_ATTEMPTS, max(1, patience_s() // silence_s())))


def store_name() -> str:
    """What to call the store in a message: its host, without any password."""
    return _host(_endpoint() or "") or "AWS S3"


@functools.cache
def _interfaces() -> Loader:
    """AWS's descriptions of its interfaces, which take longer to read than all else takes."""
    from botocore.loaders import create_loader

    return create_loader()


def _only_if_new(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["If-None-Match"] = "*"


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _host(endpoint: str) -> str:
    return urlsplit(endpoint).netloc.rpartition("@")[2]
