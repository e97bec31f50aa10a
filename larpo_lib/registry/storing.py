"""Puts a policy where MLflow finds it, without copying weights where that can be helped.

A policy in an object store stays where it is: what makes it a model of MLflow is put beside it, and its version points
there. On the disk of the store its files are linked. Only what goes to a server, and what somebody may still write to,
is copied.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from larpo_lib.artifacts import CARD, MANIFEST, read_manifest
from larpo_lib.storage import is_remote, upload
from larpo_lib.tracking import TrackingClient

APART = "model"
"""The folder of a policy that is no artifact, below its version's: its own files may have any names."""


@dataclass(frozen=True)
class Layout:
    """Where a version's files are.

    Attributes:
        place: s3:// URI of the policy, where it stays; "": MLflow stores it.
        folder: of the policy's files below the version's; "": they are the same.
        immutable: nobody writes to the policy's files any more.
    """

    place: str
    folder: str
    immutable: bool

    @classmethod
    def of(cls, policy: Path, place: str | None) -> Layout:
        """Of a policy whose files are in `policy`, or all of them at `place`, and in `policy` those but weights."""
        artifact = (policy / MANIFEST).is_file()
        stays = artifact and place is not None and is_remote(place)
        return cls(place.rstrip("/") if stays and place else "", "" if artifact else APART, artifact)


def store_policy(client: TrackingClient, model_id: str, policy: Path, layout: Layout) -> None:
    """Put the policy's own files below a logged model of MLflow, unless they stay where they are."""
    if layout.place:
        return
    target = local_path(client.get_logged_model(model_id).artifact_location)
    if target is not None and layout.immutable:
        _link(policy, target / layout.folder)
    else:
        client.log_model_artifacts(model_id, str(policy), layout.folder or None)


def store_beside(client: TrackingClient, model_id: str, files: Path, layout: Layout) -> None:
    """Put files beside a policy; of one that stays where it is, the card also where MLflow shows it."""
    if not layout.place:
        client.log_model_artifacts(model_id, str(files))
        return
    upload(files, layout.place, last="MLmodel")
    if (files / CARD).is_file():
        client.log_model_artifact(model_id, str(files / CARD))


def has_own_card(policy: Path) -> bool:
    """Whether a README.md belongs to the policy, rather than having been written beside it."""
    if (policy / MANIFEST).is_file():
        return CARD in read_manifest(policy)["files"]
    return (policy / CARD).is_file()


def local_path(location: str) -> Path | None:
    """The path of a location on this machine's disk; None of any other."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    return Path(local_file_uri_to_path(location)) if is_local_uri(location) else None


def _link(artifact: Path, target: Path) -> None:
    """Give the files of an artifact a second name each; on another disk, a copy."""
    for relative in (MANIFEST, *read_manifest(artifact)["files"]):
        file, name = artifact / relative, target / relative
        name.parent.mkdir(parents=True, exist_ok=True)
        name.unlink(missing_ok=True)
        try:
            os.link(file, name)
        except OSError:  # another disk, or one without links
            shutil.copyfile(file, name)
