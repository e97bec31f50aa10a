"""Checkpoints: what a training goes on from, on any number of processes.

A checkpoint is a directory of safetensors files with `checkpoint.json`, which has their checksums. It is written beside
its place and renamed when it is whole. The one before it stays until the new one is found sound, which is when the next
one is to be written. So there is always a sound one, whenever the process is killed and whatever becomes of the newest.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from larpo_lib import storage
from larpo_lib.artifacts import WorkDir
from larpo_lib.files import file_digest, sync, write_json
from larpo_lib.storage.failures import DamagedError

INDEX = "checkpoint.json"
_LOG = logging.getLogger(__name__)
_FILE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint.

    Attributes:
        directory: where it is.
        step: optimiser steps done.
        history: their metrics.
        scheduler: the learning-rate schedule's state.
        files: which file each tensor is in.
    """

    directory: Path
    step: int
    history: list[dict[str, float]]
    scheduler: dict[str, Any]
    files: dict[str, str]

    def read(self, name: str) -> torch.Tensor:
        """One of its tensors."""
        with safe_open(self.directory / self.files[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor


class CheckpointStore:
    """Where one training keeps its checkpoints.

    Args:
        work: the step's folders.
        uri: a directory or s3:// URI to keep them in instead or besides; None for the step's own scratch folder.
    """

    def __init__(self, work: WorkDir, uri: str | None) -> None:
        self._scratch = work.scratch
        kept = _kept(uri, work.fingerprint) if uri else None
        self._remote = kept if kept and storage.is_remote(kept) else None
        self._directory = Path(kept) if kept and not self._remote else work.scratch / "checkpoints"

    def latest(self) -> Checkpoint | None:
        """The newest sound one, wherever it is; damaged ones are removed, which is told.

        Raises:
            StorageError: the store refuses the read.
        """
        found = latest_checkpoint(self._directory)
        for uri in reversed(storage.complete_directories(self._remote, last=INDEX)) if self._remote else ():
            if found is not None and uri.rpartition("/")[2] <= found.directory.name:
                break
            try:
                return self._fetched(uri)
            except DamagedError as error:
                _tell(error)
                storage.delete(uri, first=INDEX)
        return found

    def _fetched(self, uri: str) -> Checkpoint:
        """One of the store. Raises DamagedError where it is damaged there."""
        try:
            return _opened(storage.fetch(uri, self._scratch))
        except DamagedError:  # on its way, or since an earlier start has fetched it
            shutil.rmtree(self._scratch / "fetched", ignore_errors=True)
        return _opened(storage.fetch(uri, self._scratch))

    def save(
        self,
        step: int,
        tensors: Iterable[tuple[str, torch.Tensor]],
        history: list[dict[str, float]],
        scheduler: dict[str, Any],
    ) -> None:
        """Write one, with the one before it left; see `save_checkpoint`.

        Raises:
            StorageError: the store refuses the write.
        """
        whole = save_checkpoint(self._directory, step, tensors, history, scheduler)
        if self._remote:
            uri = f"{self._remote}/{whole.name}"
            storage.upload(whole, uri, last=INDEX)
            for older in storage.complete_directories(self._remote, last=INDEX)[:-2]:
                storage.delete(older, first=INDEX)


def delete_checkpoints(uri: str, fingerprint: str) -> None:
    """Remove all that a training kept at `uri`, once what it made is published.

    Raises:
        StorageError: the store refuses.
    """
    kept = _kept(uri, fingerprint)
    if storage.is_remote(kept):
        storage.delete(kept, first=INDEX)
        return
    for whole in Path(kept).glob("step-*"):
        _remove(whole)
    shutil.rmtree(kept, ignore_errors=True)


def _kept(uri: str, fingerprint: str) -> str:
    """A place of its own: checkpoints of other settings or inputs can never be taken for this training's."""
    return f"{storage.located(uri).rstrip('/')}/{fingerprint[:16]}"


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest sound checkpoint in `directory`; half-written and damaged ones are removed."""
    for torn in directory.glob(".step-*"):
        shutil.rmtree(torn)
    for whole in sorted(directory.glob("step-*"), reverse=True):
        try:
            return _opened(whole)
        except DamagedError as error:
            _tell(error)
            _remove(whole)
    return None


def save_checkpoint(
    directory: Path,
    step: int,
    tensors: Iterable[tuple[str, torch.Tensor]],
    history: list[dict[str, float]],
    scheduler: dict[str, Any],
) -> Path:
    """Write a checkpoint beside the one before it, which is checked first; those before that one are removed.

    Args:
        directory: where checkpoints are kept.
        step: optimiser steps done.
        tensors: by name; taken one at a time, so that they need not fit into memory together.
        history: metrics of the steps.
        scheduler: the learning-rate schedule's state.

    Returns:
        The checkpoint's directory.
    """
    before = latest_checkpoint(directory)
    for older in sorted(directory.glob("step-*")):
        if before is None or older != before.directory:
            _remove(older)
    name = f"step-{step:09d}"
    partial = directory / f".{name}"
    partial.mkdir(parents=True)
    files, digests = _write(tensors, partial)
    content = {"step": step, "history": history, "scheduler": scheduler, "files": files, "sha256": digests}
    write_json(partial / INDEX, {**content, "checksum": _checksum(content)})
    sync(partial)
    whole = directory / name
    if whole.exists():
        _remove(whole)
    partial.rename(whole)
    sync(directory)
    return whole


def _write(tensors: Iterable[tuple[str, torch.Tensor]], directory: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Files of tensors: in which each is, and the checksum of each."""
    files: dict[str, str] = {}
    digests: dict[str, Future[str]] = {}
    pending: dict[str, torch.Tensor] = {}

    def write() -> None:
        file = f"part-{len(digests):05d}.safetensors"
        save_file(pending, directory / file)
        sync(directory / file)
        digests[file] = pool.submit(file_digest, directory / file)  # while the next one is written
        files.update(dict.fromkeys(pending, file))
        pending.clear()

    with ThreadPoolExecutor() as pool:
        for key, tensor in tensors:
            pending[key] = tensor.contiguous()
            if sum(value.nbytes for value in pending.values()) >= _FILE_BYTES:
                write()
        if pending:
            write()
    return files, {file: digest.result() for file, digest in digests.items()}


def _remove(whole: Path) -> None:
    """Under a name that no whole one has, so that a crash leaves none that only looks whole."""
    torn = whole.with_name(f".{whole.name}")
    whole.rename(torn)
    shutil.rmtree(torn)


def _opened(directory: Path) -> Checkpoint:
    """A checkpoint whose files are those that were written.

    Raises:
        DamagedError: they are not.
    """
    try:
        index = json.loads((directory / INDEX).read_text("utf-8"))
        checksum = index.pop("checksum")
        digests = index.pop("sha256") if checksum == _checksum(index) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        digests = None
    if digests is None:
        raise DamagedError(f"{directory / INDEX}: is damaged")
    with ThreadPoolExecutor() as pool:
        sound = pool.map(lambda file: _has(directory / file, digests[file]), digests)
        damaged = [file for file, is_sound in zip(digests, sound, strict=True) if not is_sound]
    if damaged:
        raise DamagedError(f"{directory / damaged[0]}: is missing or differs from its checksum")
    return Checkpoint(directory=directory, **index)


def _has(file: Path, digest: str) -> bool:
    return file.is_file() and file_digest(file) == digest


def _checksum(content: Any) -> str:
    as_read = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def _tell(error: DamagedError) -> None:
    _LOG.warning("%s; this checkpoint is removed, and the one before it is used, if there is one", error.problem)
