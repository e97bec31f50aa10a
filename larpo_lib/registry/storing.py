"""Puts a policy where MLflow finds it, without copying weights where that can be helped.

A policy in an object store stays where it is: what makes it a model of MLflow is put beside it, and its version points
there. On the disk of the store its files are linked. Only what goes to a server, and what somebody may still write to,
is copied.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import CARD, MANIFEST, digest, read_manifest, verify
from larpo_lib.errors import ArtifactError
from larpo_lib.registry.mlmodel import MODEL, Identity, VersionFacts, write_model_files
from larpo_lib.storage import cache_dir, fetch, is_remote, upload
from larpo_lib.storage.failures import NotFoundError
from larpo_lib.tracking import TrackingClient

MODEL_ID, FOLDER = "larpo.model_id", "larpo.folder"
"""Tags of a version: the logged model that holds its files, and the folder of the policy's own below, if another."""

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


def store_model(client: TrackingClient, policy: Path, layout: Layout, known: Identity, facts: VersionFacts) -> None:
    """Put a policy, and what makes it a model of MLflow, where a logged model keeps its files."""
    _store_policy(client, known.model_id, policy, layout)
    with tempfile.TemporaryDirectory() as folder:
        own_card = layout.folder == "" and has_own_card(policy)
        told = replace(facts, card="") if own_card else facts
        write_model_files(Path(folder), policy, layout.folder or ".", known, told)
        _store_beside(client, known.model_id, Path(folder), layout)


def _store_policy(client: TrackingClient, model_id: str, policy: Path, layout: Layout) -> None:
    """Put the policy's own files below a logged model of MLflow, unless they stay where they are."""
    if layout.place:
        return
    target = local_path(client.get_logged_model(model_id).artifact_location)
    if target is not None and layout.immutable:
        _link(policy, target / layout.folder)
    else:
        client.log_model_artifacts(model_id, str(policy), layout.folder or None)


def _store_beside(client: TrackingClient, model_id: str, files: Path, layout: Layout) -> None:
    """Put files beside a policy; of one that stays where it is, the card also where MLflow shows it."""
    if not layout.place:
        client.log_model_artifacts(model_id, str(files))
        return
    upload(files, layout.place, last=MODEL)
    if (files / CARD).is_file():
        client.log_model_artifact(model_id, str(files / CARD))


def store_card(client: TrackingClient, version: Any, policy: Path, card: str) -> None:
    """Replace the card that was put beside a version's files; one of the policy's own, or "", replaces nothing.

    The files of a policy that is no artifact have a folder of their own, but not where an older larpo put them: there
    a card would be one of them.
    """
    beside = bool(version.tags.get(FOLDER)) or ((policy / MANIFEST).is_file() and not has_own_card(policy))
    if not card or not beside:
        return
    model_id = version.tags[MODEL_ID]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / CARD
        file.write_text(card, "utf-8")
        if is_remote(version.source) and version.source != client.get_logged_model(model_id).artifact_location:
            upload(Path(folder), version.source, last=CARD)
        client.log_model_artifact(model_id, str(file))


def is_whole(client: TrackingClient, version: Any, policy_digest: str) -> bool:
    """Whether the files of a version are where it says, as they were registered; of a server, whether any are."""
    place = local_path(version.source)
    if place is None and not is_remote(version.source):
        return MODEL in {file.path for file in client.list_logged_model_artifacts(version.tags[MODEL_ID])}
    try:
        folder = fetch(f"{version.source}/{MANIFEST}", cache_dir()).parent if place is None else place
        folder /= version.tags.get(FOLDER, "")
        if place is not None and (folder / MANIFEST).is_file():  # its digest is of the manifest, not of the files
            verify(folder)
        elif place is not None and not version.tags.get(FOLDER):  # an older larpo put other files beside these
            return bool((folder / "config.json").is_file())
        return digest(folder) == policy_digest
    except (ArtifactError, NotFoundError):
        return False


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
