"""What is told of an artifact by its manifest: from what it was made, and a checksum of every file."""

import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from larpo_lib.adapters import base_of, is_adapter
from larpo_lib.checksums import differing
from larpo_lib.errors import ArtifactError
from larpo_lib.files import file_digest, read_json

MANIFEST, METRICS = "artifact.json", "metrics.json"
MANIFEST_VERSION = 1

CARD = "README.md"
"""A policy's model card. Promotion writes it beside the published files, so that it is not in their manifest."""

HUB_MARK = ".larpo-hub.json"
"""Says of a directory which commit of which model of the Hugging Face hub it holds; see `larpo_lib.models.hub`."""

SMALL_MARK = ".larpo-without-weights"
"""Says of a directory that only the small files of an artifact were fetched into it; see `larpo_lib.storage.fetch`."""

Metrics = dict[str, float | int | None]
"""Numbers a step reports. None: the metric is not defined on these data."""

AGAIN = "Delete the artifact and make it again"
_IDENTITY = ("step", "config", "arguments", "inputs", "code")
"""What the fingerprint is of."""


def read_manifest(artifact: Path) -> dict[str, Any]:
    """The manifest of an artifact.

    Raises:
        ArtifactError: `artifact` is not one, or was written by another version of the format.
    """
    path = artifact / MANIFEST
    if not path.is_file():
        raise ArtifactError(
            f"{artifact}: is not an artifact (it has no {MANIFEST})",
            remedy="Use a directory that a larpo step wrote, or choose another output path",
        )
    manifest = read_json(path, remedy=AGAIN)
    if manifest.get("version") != MANIFEST_VERSION:
        raise ArtifactError(
            f"{path}: format version {manifest.get('version')}, but this version of larpo reads format version "
            f"{MANIFEST_VERSION}",
            remedy="Make the artifact again with this version",
        )
    if not {"fingerprint", "step", "config", "inputs", "files"} <= manifest.keys():
        raise ArtifactError(f"{path}: is not a manifest", remedy=AGAIN)
    return manifest


def read_metrics(artifact: Path) -> Metrics:
    """The metrics of an artifact. Raises ArtifactError where they are missing or damaged."""
    metrics = read_json(artifact / METRICS, remedy=AGAIN)
    if (artifact / MANIFEST).is_file():
        _check_files(artifact, lambda name: name == METRICS)
    return metrics


def verify(artifact: Path) -> None:
    """Check every file of an artifact against its checksum, and what its manifest says of its making.

    Raises:
        ArtifactError: a file is missing or differs.
    """
    manifest = read_manifest(artifact)
    if manifest["fingerprint"] != hash_json({key: manifest.get(key) for key in _IDENTITY}):
        raise _damaged(artifact / MANIFEST)
    small = (artifact / SMALL_MARK).is_file()
    _check_files(artifact, lambda name: not small or (artifact / name).exists())


def verify_input(path: Path) -> None:
    """Check what a step is about to read, as far as there are checksums: of artifacts, and of models of the hub.

    Any other file or directory is part of the fingerprint by its bytes. Of adapters the base is checked, too.

    Raises:
        ArtifactError: a file is missing or differs.
        ModelError: adapters have no base.
    """
    if (path / MANIFEST).is_file():
        verify(path)
    elif (path / HUB_MARK).is_file():
        _verify_hub_files(path)
    if is_adapter(path):
        verify_input(base_of(path))


def _check_files(artifact: Path, is_wanted: Callable[[str], bool]) -> None:
    recorded = read_manifest(artifact)["files"]
    try:
        wanted = {name: str(file["sha256"]) for name, file in recorded.items() if is_wanted(name)}
        sizes = {name: int(recorded[name]["bytes"]) for name in wanted}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _damaged(artifact / MANIFEST) from None
    damaged = differing(artifact, wanted) or [
        name for name in wanted if (artifact / name).stat().st_size != sizes[name]
    ]
    if damaged:
        raise _damaged(artifact / damaged[0])


def _damaged(file: Path) -> ArtifactError:
    return ArtifactError(f"{file}: is missing or differs from its checksum", remedy=AGAIN)


def _verify_hub_files(view: Path) -> None:
    for link in sorted(path for path in view.rglob("*") if path.is_symlink()):
        file = link.resolve()
        if not _has_its_name(file):
            raise ArtifactError(
                f"{file} ({link.relative_to(view)} of {recorded_digest(view)}): differs from its checksum",
                remedy="Delete this file and run the same command again, which fetches it",
            )


def _has_its_name(file: Path) -> bool:
    """What `huggingface_hub` caches is named by its SHA-256, a small file by git's SHA-1, of a mirror by its own."""
    if re.fullmatch(r"[0-9a-f]{64}", file.name):
        return not differing(file.parent, {file.name: file.name})
    if re.fullmatch(r"[0-9a-f]{40}", file.name):
        content = file.read_bytes()
        starts = (b"blob %d\0" % len(content), b"")
        return file.name in (hashlib.sha1(start + content, usedforsecurity=False).hexdigest() for start in starts)
    return True  # nothing is known of it


def digest(path: Path) -> str:
    """Identity of an input's content: of an artifact by its manifest, of others by their bytes, with adapters' base.

    Of a model of the hub its commit is the identity, wherever its files are kept and whatever else is there.

    Raises ArtifactError where there is nothing at `path`, and ModelError where there is no base.
    """
    if (path / MANIFEST).is_file():
        return hash_json(read_manifest(path)["files"])
    if (path / HUB_MARK).is_file():
        return hash_json({"hub": recorded_digest(path)})
    if path.is_dir():
        found = file_entries(path)
        return hash_json({"adapters": found, "base": digest(base_of(path))} if is_adapter(path) else found)
    if path.is_file():
        return file_digest(path)
    raise ArtifactError(f"{path}: no such file or directory", remedy="Run the step that makes it first")


def recorded_digest(path: Path) -> str:
    """What manifests say of an input: its digest, or name and commit where it is a model of the hub."""
    if not (path / HUB_MARK).is_file():
        return digest(path)
    named = str(read_json(path / HUB_MARK, remedy=AGAIN)["model"])
    return f"{named} on {recorded_digest(base_of(path))}" if is_adapter(path) else named


def file_entries(directory: Path) -> dict[str, dict[str, Any]]:
    """Checksum and size of every file of a directory but its manifest, as manifests list them."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)
    with ThreadPoolExecutor() as pool:
        digests = pool.map(file_digest, files)
        return {
            path.relative_to(directory).as_posix(): {"sha256": digest, "bytes": path.stat().st_size}
            for path, digest in zip(files, digests, strict=True)
        }


def hash_json(value: Any) -> str:
    """SHA-256 of a value as JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
