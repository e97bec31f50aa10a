"""A pool of artifacts by fingerprint: what several runs have in common is made once."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from larpo_lib.errors import ConfigError, StorageError
from larpo_lib.files import make_directory
from larpo_lib.locks import waiting

_LOG = logging.getLogger(__name__)
_POOL: ContextVar[Path | None] = ContextVar("pool", default=None)


def check_pool(pool: Path, out: Path) -> None:
    """Check that a pool can hold what a run makes.

    Args:
        pool: a directory, which is made if it is not there.
        out: directory of the run; it is made too.

    Raises:
        ConfigError: the pool is no local directory, or the run's own.
        StorageError: files of `out` cannot be linked there.
    """
    if pool.parts[:1] == ("s3:",):
        raise ConfigError(f"the pool {pool} is not a local directory", remedy="Use one on the file system of the run")
    if pool.resolve() == out.resolve():
        raise ConfigError(f"{out}: is the pool and the run", remedy="Use another directory for one of them")
    for directory in (pool, out):
        make_directory(directory)
    name = f".link-{os.getpid()}"
    probe, link = out / name, pool / name
    try:
        probe.touch()
        os.link(probe, link)
    except OSError as error:
        raise StorageError(
            f"{pool}: cannot hold hard links to files of {out}: {error.strerror}",
            remedy="Use a pool on the file system of the run",
        ) from error
    finally:
        probe.unlink(missing_ok=True)
        link.unlink(missing_ok=True)


@contextmanager
def use_pool(pool: Path | None) -> Iterator[None]:
    """Within the block, an artifact that was made before for any run with this pool is linked, not made again.

    The files of linked artifacts are one and the same, so they must only ever be read, as artifacts are.

    Args:
        pool: a directory as `check_pool` takes it; None: no pool.
    """
    token = _POOL.set(pool)
    try:
        yield
    finally:
        _POOL.reset(token)


@contextmanager
def shared_through_pool(fingerprint: str, output: Path, is_whole: Callable[[Path], bool]) -> Iterator[bool]:
    """Says whether the pool had the artifact, which then is `output`; if not, what the block publishes joins the pool.

    Of two runs that are at work on the same artifact one makes it, and the other waits and links it.

    Args:
        fingerprint: of the artifact.
        output: where it is to be.
        is_whole: tells of what the pool has whether its files are as they were made; what is not leaves the pool.
    """
    pool = _POOL.get()
    if pool is None:
        yield False
        return
    member = pool / fingerprint

    def busy(_holder: object) -> None:
        _LOG.info("%s: waiting for another run that is making the same artifact", output)

    with waiting(pool / f".{fingerprint}.lock", busy):
        found = member.exists() and is_whole(member)
        if found:
            _link(member, output)
            _LOG.info("%s: linked from the pool", output)
        else:
            shutil.rmtree(member, ignore_errors=True)
        yield found
        if not found:
            _link(output, member)


def _link(source: Path, target: Path) -> None:
    """A directory with the same files, whole or not at all."""
    partial = target.with_name(f".{target.name}.linking")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=os.link)
    partial.rename(target)
