"""Checkpoints: what a training goes on from, on any number of processes.

A checkpoint is a directory of safetensors files with `checkpoint.json`. It is written beside its place and renamed when
it is whole; the one before it goes after that. So there is always a whole one, whenever the process is killed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from larpo_lib import storage
from larpo_lib.artifacts import WorkDir
from larpo_lib.files import sync, write_json

INDEX = "checkpoint.json"
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
        """The newest one, wherever it is.

        Raises:
            StorageError: the store refuses the read.
        """
        found = latest_checkpoint(self._directory)
        if found is None and self._remote and (whole := storage.complete_directories(self._remote, last=INDEX)):
            return _opened(storage.fetch(whole[-1], self._scratch))
        return found

    def save(
        self,
        step: int,
        tensors: Iterable[tuple[str, torch.Tensor]],
        history: list[dict[str, float]],
        scheduler: dict[str, Any],
    ) -> None:
        """Write one and remove the ones before it; see `save_checkpoint`.

        Raises:
            StorageError: the store refuses the write.
        """
        whole = save_checkpoint(self._directory, step, tensors, history, scheduler)
        if self._remote:
            uri = f"{self._remote}/{whole.name}"
            storage.upload(whole, uri, last=INDEX)
            for older in storage.complete_directories(self._remote, last=INDEX):
                if older != uri:
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
    return f"{uri.rstrip('/')}/{fingerprint[:16]}"


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest checkpoint in `directory`; half-written ones are removed."""
    for torn in directory.glob(".step-*"):
        shutil.rmtree(torn)
    whole = sorted(directory.glob("step-*"))
    if not whole:
        return None
    return _opened(whole[-1])


def save_checkpoint(
    directory: Path,
    step: int,
    tensors: Iterable[tuple[str, torch.Tensor]],
    history: list[dict[str, float]],
    scheduler: dict[str, Any],
) -> Path:
    """Write a checkpoint and remove the ones before it.

    Args:
        directory: where checkpoints are kept.
        step: optimiser steps done.
        tensors: by name; taken one at a time, so that they need not fit into memory together.
        history: metrics of the steps.
        scheduler: the learning-rate schedule's state.

    Returns:
        The checkpoint's directory.
    """
    name = f"step-{step:09d}"
    partial = directory / f".{name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files: dict[str, str] = {}
    pending: dict[str, torch.Tensor] = {}

    def write() -> None:
        file = f"part-{len(set(files.values())):05d}.safetensors"
        save_file(pending, partial / file)
        sync(partial / file)
        files.update(dict.fromkeys(pending, file))
        pending.clear()

    for key, tensor in tensors:
        pending[key] = tensor.contiguous()
        if sum(value.nbytes for value in pending.values()) >= _FILE_BYTES:
            write()
    if pending:
        write()
    write_json(partial / INDEX, {"step": step, "history": history, "scheduler": scheduler, "files": files})
    sync(partial)
    whole = directory / name
    if whole.exists():
        _remove(whole)
    partial.rename(whole)
    sync(directory)
    for older in sorted(directory.glob("step-*"))[:-1]:
        _remove(older)
    return whole


def _remove(whole: Path) -> None:
    """Under a name that no whole one has, so that a crash leaves none that only looks whole."""
    torn = whole.with_name(f".{whole.name}")
    whole.rename(torn)
    shutil.rmtree(torn)


def _opened(directory: Path) -> Checkpoint:
    return Checkpoint(directory=directory, **json.loads((directory / INDEX).read_text("utf-8")))
