"""The manifest of a published artifact: the object with which the artifact is there, and without which it is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larpo_lib import artifacts
from larpo_lib.errors import StorageError
from larpo_lib.parsing import parse_json
from larpo_lib.storage.failures import NotFoundError, with_retries
from larpo_lib.storage.locations import Location
from larpo_lib.storage.transfer import Transfer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_STAGING = "objects"


@dataclass(frozen=True)
class Manifest:
    """What is published at a location.

    Attributes:
        content: the artifact's own manifest.
        staging: folder below the artifact that holds its files for now; "" once they are in their places.
    """

    content: dict[str, Any]
    staging: str = ""

    def same_artifact(self, other: Manifest) -> bool:
        """Whether both stand for the same bytes made from the same things."""
        return all(self.content.get(key) == other.content.get(key) for key in ("fingerprint", "files"))

    def encoded(self) -> bytes:
        """As it is stored: the very bytes of the artifact's own, unless its files are aside."""
        stored = self.content | {_STAGING: self.staging} if self.staging else self.content
        text = json.dumps(stored, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()

    def transfers(self, directory: Path, location: Location) -> list[Transfer]:
        """A transfer for each file between `directory` and where it is below `location`.

        Metrics come first: they mark a place as an artifact's, so that without a manifest it is known to be unfinished.
        """
        place, files = location / self.staging, self.content["files"]
        return [
            Transfer(directory / name, place / name, files[name]["sha256"], files[name]["bytes"])
            for name in sorted(files, key=lambda name: (name != artifacts.METRICS, name))
        ]


def stored_manifest(client: S3Client, location: Location) -> Manifest | None:
    """The manifest at a location, None where there is none.

    Raises:
        StorageError: it is none, or the store refuses or stays away.
    """
    place = location / artifacts.MANIFEST

    def read() -> bytes:
        return client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()

    try:
        body = with_retries(place, read)
    except NotFoundError:
        return None
    try:
        content = parse_json(body)
        staging = content.pop(_STAGING, "")
        for recorded in content["files"].values():
            recorded["sha256"], recorded["bytes"]
        return Manifest(content, staging)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise StorageError(f"{place}: is not a manifest", remedy="Delete it and publish the artifact again") from None
