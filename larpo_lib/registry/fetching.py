"""Fetches a version's policy, as it was registered, from wherever MLflow or an object store has it."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import CARD, MANIFEST, digest, read_manifest, verify
from larpo_lib.errors import ArtifactError, StorageError
from larpo_lib.parsing import parse_json
from larpo_lib.registry.storing import local_path
from larpo_lib.storage import fetch
from larpo_lib.tracking import mlflow_errors

EVALUATION = "larpo-evaluation"
"""Folder beside the policy's files, never part of a downloaded policy."""

PUT_BACK = "Put them back, or promote the same policy again, which stores them again"
_S3 = "s3://"


@dataclass(frozen=True)
class Source:
    """Where the policy of a version is.

    Attributes:
        uri: of the version, as `models:/name@alias`.
        version: its number.
        location: of its files, as MLflow names it.
        folder: of the policy's own ones below; "": all of them, but for those that were put beside them.
        digest: of the policy; None of a version that something else made.
    """

    uri: str
    version: int
    location: str
    folder: str
    digest: str | None

    @property
    def policy_location(self) -> str:
        """Of the policy's own files."""
        return f"{self.location.rstrip('/')}/{self.folder}".rstrip("/")


def fetch_version_json(tracking_uri: str, location: str, name: str, version: str) -> Any:
    """What is in a JSON file of a version.

    Raises:
        TrackingError: MLflow refuses.
        ArtifactError: the file is damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = fetch_version_file(tracking_uri, location, name, Path(folder))
        try:
            return parse_json(file.read_bytes())
        except ValueError as error:
            problem = f"{version}: {name} cannot be read: {error}"
            raise ArtifactError(problem, remedy="Register the policy again") from None


def fetch_policy(tracking_uri: str, source: Source, target: Path) -> Path:
    """The policy as `target`, whole or not at all; `target` may hold it already.

    Raises:
        StorageError: `target` exists and holds something else, or the store refuses or stays away.
        TrackingError: MLflow refuses.
        ArtifactError: the files differ from those that were registered.
    """
    if target.exists():
        if source.digest is None or digest(target) != source.digest:
            raise StorageError(f"{target}: exists and is not {source.uri}", remedy="Choose another directory")
        return target
    partial = target.absolute().parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _fetch_checked(tracking_uri, source, partial).rename(target)
    shutil.rmtree(partial, ignore_errors=True)
    return target


def _fetch_checked(tracking_uri: str, source: Source, partial: Path) -> Path:
    """The policy in a folder below `partial`, checked."""
    if source.location.startswith(_S3) and not source.folder:
        folder = _of_store(source.location, partial)
    else:
        folder = fetch_version_file(tracking_uri, source.location, source.folder, partial)
        _leave_policy(folder)
    if source.digest is not None and digest(folder) != source.digest:
        raise ArtifactError(
            f"{source.uri}: its files differ from those that were registered", remedy="Register the policy again"
        )
    if (folder / MANIFEST).is_file():  # its digest is of the manifest, not of the files
        verify(folder)
    return folder


def fetch_version_file(tracking_uri: str, location: str, path: str, folder: Path) -> Path:
    """Download what is at `path` below a location.

    By MLflow, but not by models:/..., which it would look up at its global URI.
    """
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    place = f"{location.rstrip('/')}/{path}".rstrip("/")
    here = local_path(place)
    if here is not None and not here.exists():
        raise ArtifactError(f"{here}: the files of this version are not there", remedy=PUT_BACK)
    with mlflow_errors(tracking_uri):
        return Path(download_artifacts(place, dst_path=str(folder), tracking_uri=tracking_uri))


def _of_store(location: str, partial: Path) -> Path:
    """An artifact that stayed in its object store, with the card that was put beside it."""
    folder = fetch(location, partial)
    try:
        shutil.copyfile(fetch(f"{location}/{CARD}", partial), folder / CARD)
    except StorageError:  # registered without one
        return folder
    return folder


def _leave_policy(folder: Path) -> None:
    """Remove what was put beside a policy: of an artifact all but what its manifest names, and the card."""
    shutil.rmtree(folder / EVALUATION, ignore_errors=True)
    if not (folder / MANIFEST).is_file():
        return
    own = {MANIFEST, CARD, *read_manifest(folder)["files"]}
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        if file.relative_to(folder).as_posix() not in own:
            file.unlink()
    for empty in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(empty.iterdir()):
            empty.rmdir()
