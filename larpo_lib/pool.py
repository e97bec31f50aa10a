"""A pool of artifacts by fingerprint: what several runs have in common is made once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_POOL: ContextVar[Path | None] = ContextVar("pool", default=None)


@contextmanager
def use_pool(pool: Path | None) -> Iterator[None]:
    """Within the block, an artifact that was made before for any run with this pool is linked, not made again.

    The files of linked artifacts are one and the same, so they must only ever be read, as artifacts are.

    Args:
        pool: a directory on the file system of the runs; None: no pool.
    """
    token = _POOL.set(pool)
    try:
        yield
    finally:
        _POOL.reset(token)


@contextmanager
def shared_through_pool(fingerprint: str, output: Path) -> Iterator[bool]:
    """Says whether the pool had the artifact, which then is `output`; if not, what the block publishes joins the pool.

    Of two runs that are at work on the same artifact one makes it, and the other waits and links it.
    """
    pool = _POOL.get()
    if pool is None:
        yield False
        return
    pool.mkdir(parents=True, exist_ok=True)
    member = pool / fingerprint
    with (pool / f".{fingerprint}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = member.exists()
        if found:
            _link(member, output)
        yield found
        if not found:
            _link(output, member)


def _link(source: Path, target: Path) -> None:
    """A directory with the same files, whole or not at all."""
    partial = target.with_name(f".{target.name}.linking")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=os.link)
    partial.rename(target)
