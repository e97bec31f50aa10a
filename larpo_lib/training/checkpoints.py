"""Checkpoints: what a training goes on from, on any number of processes.

A checkpoint is a directory of safetensors files with `checkpoint.json`, which has their checksums. It is written beside
its place and renamed when it is whole. The one before it stays until the new one is found sound, which is when the next
one is to be written. So there is always a sound one, whenever the process is killed and whatever becomes of the newest.
"""

import hashlib
import json
import logging
import os
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
from larpo_lib.storage.failures import DamagedError, NotFoundError
from larpo_lib.training.checkpoint_places import (
    INDEX,
    is_anothers,
    own_place,
    record_place,
    recorded_places,
    remove,
    shared_place,
    whole_ones,
    whole_ones_before,
    whole_ones_of_equals,
)

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
        self._fetches = work.scratch / "fetched"
        self._uri, self._fingerprint = uri, work.fingerprint
        self._kept = own_place(uri, work.fingerprint, work.output) if uri else None
        self._remote = self._kept if self._kept and storage.is_remote(self._kept) else None
        here = work.scratch / "checkpoints"
        self._directory = Path(self._kept) if self._kept and not self._remote else here
        self._recorded = recorded_places(work.scratch)
        shared = [shared_place(uri, work.fingerprint)] if uri else []
        before = dict.fromkeys([str(here), *shared, *self._recorded])
        self._before = [place for place in before if place not in (self._kept, str(self._directory))]
        self._output = work.output
        self._others = {place for place, owner in self._recorded.items() if is_anothers(place, owner, work.output)}

    def latest(self) -> Checkpoint | None:
        """The newest sound one, wherever this training has kept it; damaged ones are removed, which is told.

        Where it has kept none, one of an equal training of another output: on a new machine, an output may have another
        path. Those are left where they are.

        Raises:
            StorageError: the store refuses the read.
        """
        _clear_torn(self._directory)
        places = [str(self._directory), *([self._remote] if self._remote else [])]
        found = [whole for place in places for whole in whole_ones(place)] + [*whole_ones_before(self._before)]
        for whole in sorted(found, key=_step, reverse=True):
            try:
                return self._fetched(whole) if storage.is_remote(whole) else _opened(Path(whole))
            except DamagedError as error:
                _tell(error)
                if whole.rpartition("/")[0] not in self._others:
                    remove(whole)
        for place in self._recorded:
            _LOG.warning("%s: no checkpoint is left of those that were kept there; training begins anew", place)
        if self._recorded or not self._uri:
            return None
        return self._of_an_equal()

    def _of_an_equal(self) -> Checkpoint | None:
        """A copy of the newest that an equal training of another output has kept, which may remove it at any time."""
        for whole in sorted(whole_ones_of_equals(str(self._uri), self._fingerprint), key=_step, reverse=True):
            try:
                found = self._fetched(whole) if storage.is_remote(whole) else _opened(_copied(whole, self._fetches))
            except (DamagedError, NotFoundError, OSError) as error:
                _LOG.info("%s: is passed over: %s", whole, error)
                continue
            _LOG.warning(
                "%s: training goes on from step %d, which an equal training of another output has kept. "
                "Its checkpoints stay; remove them if that output is not made any more",
                whole,
                found.step,
            )
            return found
        return None

    def _fetched(self, uri: str) -> Checkpoint:
        """One of the store. Raises DamagedError where it is damaged there."""
        try:
            return _opened(storage.fetch(uri, self._scratch))
        except DamagedError:  # on its way, or since an earlier start has fetched it
            self.release()
        return _opened(storage.fetch(uri, self._scratch))

    def release(self) -> None:
        """Remove what was fetched, once all of it is read: the disk then has room for two."""
        shutil.rmtree(self._fetches, ignore_errors=True)

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
            for older in whole_ones(self._remote)[:-2]:
                remove(older)
        if self._kept:
            record_place(self._scratch, self._kept, self._output)


def _step(whole: str) -> tuple[str, bool]:
    """By what the newest comes last; of equal ones, that of this machine."""
    return whole.rpartition("/")[2], not storage.is_remote(whole)


def _copied(whole: str, folder: Path) -> Path:
    copy = folder / Path(whole).name
    shutil.rmtree(copy, ignore_errors=True)
    return shutil.copytree(whole, copy, copy_function=_linked)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest sound checkpoint in `directory`; half-written and damaged ones are removed."""
    _clear_torn(directory)
    for whole in sorted(directory.glob("step-*"), reverse=True):
        try:
            return _opened(whole)
        except DamagedError as error:
            _tell(error)
            remove(str(whole))
    return None


def _clear_torn(directory: Path) -> None:
    for torn in directory.glob(".step-*"):
        shutil.rmtree(torn)


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
            remove(str(older))
    name = f"step-{step:09d}"
    partial = directory / f".{name}"
    partial.mkdir(parents=True)
    files, digests = _write(tensors, partial)
    content = {"step": step, "history": history, "scheduler": scheduler, "files": files, "sha256": digests}
    write_json(partial / INDEX, {**content, "checksum": _checksum(content)})
    sync(partial)
    whole = directory / name
    if whole.exists():
        remove(str(whole))
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
