"""What is asked of the Hugging Face hub, and what is said of its refusals.

`huggingface_hub` reads its own variables when it is imported: HF_HOME and HF_HUB_CACHE (the cache), HF_ENDPOINT,
HF_HUB_OFFLINE; and HF_TOKEN, or the token of `hf auth login`, with each request. None of its own texts is passed on: so
no header, no signed address and no token stands in a message.
"""

from __future__ import annotations

import errno
import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from threading import Lock
from typing import TYPE_CHECKING, Any

from larpo_lib.errors import LarpoError, ModelError, StorageError
from larpo_lib.progress import Advance, progress

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_BUSY = frozenset({408, 429, 500, 502, 503, 504})


class HubError(ModelError):
    """The hub refused a request or could not be reached.

    Args:
        transient: as of every LarpoError.
    """

    def __init__(self, problem: str, *, remedy: str = "", transient: bool = False) -> None:
        super().__init__(problem, remedy=remedy)
        self.transient = transient


def download(name: str, revision: str, files: Sequence[str], *, told: str = "") -> Path:
    """The snapshot of a model in the cache of `huggingface_hub`, with these files of it as far as there are any.

    Files that are in the cache are left alone. Of a file whose transfer breaks off the rest is asked for, some times.
    Without a connection, and offline, the revision and the files are those of the cache.

    Args:
        name: `org/name`.
        revision: a branch, a tag, or a commit.
        files: names of files in the repository.
        told: what the progress is called that is shown; "": none is. The revision must be a commit.

    Returns:
        The snapshot's directory, whose name is the commit.

    Raises:
        HubError: the hub refuses or cannot be reached.
        StorageError: the cache cannot be written.
    """
    from huggingface_hub import snapshot_download

    patterns = [glob.escape(file) for file in files]
    with hub_errors(name, revision), _bar(told, name, revision, files) as bar:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, tqdm_class=bar))


def listing(name: str, snapshot: Path) -> frozenset[str]:
    """The names of the files of a snapshot's commit; without the hub's list of them, of those that are in the cache."""
    sizes = _sizes(name, snapshot.name)
    if sizes is not None:
        return frozenset(file for file in sizes if _is_below(file))
    return frozenset(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())


def _is_below(file: str) -> bool:
    """Whether a name is that of a file in the repository's own directory, on any system."""
    path = PureWindowsPath(file)
    return not path.anchor and ".." not in path.parts


def _sizes(name: str, revision: str) -> dict[str, int] | None:
    """Bytes of each file of a commit by the list that the cache keeps of it; None where it has none."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return {file.path: file.size for file in get_cached_repo_tree(name, revision=revision)}
    except CachedRepoTreeNotFoundError:
        return None


@contextmanager
def hub_errors(name: str, revision: str = "") -> Iterator[None]:
    """Tell what `huggingface_hub` raises about a model in one line."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except LarpoError:
        raise
    except HFValidationError:
        raise HubError(f"'{name}' is not a name that a model of the hub can have", remedy=_NEITHER) from None
    except LocalEntryNotFoundError as error:
        cause = error.__cause__ if isinstance(error.__cause__, HTTPError | OSError) else error
        raise _told(name, revision, cause) from None
    except (HTTPError, OSError, RuntimeError) as error:  # a RuntimeError: hf_xet's
        raise _told(name, revision, error) from None


_NEITHER = "Use a directory written by save_pretrained, or a model's name on the hub as org/name or org/name@revision"


def _told(name: str, revision: str, error: BaseException) -> LarpoError:
    from huggingface_hub import constants, errors

    where, place = constants.ENDPOINT, f"{name}@{revision}" if revision else name
    if isinstance(error.__cause__, errors.HfHubHTTPError):  # of an upload in many threads
        error = error.__cause__
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(name, revision, error)
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return StorageError(
            f"{constants.HF_HUB_CACHE}: {place} cannot be stored there: {error.strerror}",
            remedy="Fix this, or set HF_HOME to another directory, and run the same command again",
        )
    if constants.is_offline_mode():
        return HubError(
            f"{place}: is neither a local directory nor, with all its files, in the cache {constants.HF_HUB_CACHE}, and"
            " HF_HUB_OFFLINE forbids to ask the hub",
            remedy="Unset HF_HUB_OFFLINE, or fetch the model once with a connection",
        )
    return HubError(
        f"{place}: {where} cannot be reached, or broke off the transfer ({type(error).__name__})",
        remedy="Check the network and HF_ENDPOINT, or the path if you mean a local directory, and run the same command "
        "again",
        transient=True,
    )


def _refused(name: str, revision: str, error: HfHubHTTPError) -> HubError:
    from huggingface_hub import constants, errors, get_token

    where, place, status = constants.ENDPOINT, f"{name}@{revision}" if revision else name, error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        then = "set the environment variable HF_TOKEN to a token of that account"
        if get_token() is not None:
            then = "use that account's token in HF_TOKEN; some authors take time to answer"
        remedy = f"Accept it at {where}/{name}, and {then}"
        return HubError(f"{place}: its authors ask for their licence to be accepted ({status})", remedy=remedy)
    if isinstance(error, errors.RepositoryNotFoundError):
        problem = f"{name}: is neither a local directory nor a model on {where} that may be read here ({status})"
        return HubError(problem, remedy=f"{_NEITHER}. For a private model set the environment variable HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"{name}: has no revision '{revision}'", remedy="Use a branch, a tag or a commit that it has")
    if status in (401, 403):
        remedy = "Set the environment variable HF_TOKEN to a valid token with the rights that this needs"
        return HubError(f"{place}: {where} refuses the token ({status})", remedy=remedy)
    remedy = "Run the same command again later"
    return HubError(f"{place}: {where} answered {status}", remedy=remedy, transient=status in _BUSY)


@contextmanager
def _bar(told: str, name: str, commit: str, files: Sequence[str]) -> Iterator[type]:
    """A class of bars that shows nothing by itself, and has our own progress tell of the bytes that come."""
    from huggingface_hub import try_to_load_from_cache

    sizes = (_sizes(name, commit) or {}) if told else {}
    wanted = {file: sizes[file] for file in files if file in sizes}
    there = {file for file in wanted if isinstance(try_to_load_from_cache(name, file, revision=commit), str)}
    if there == wanted.keys():
        yield _bars(lambda _: None)
        return
    total, done = sum(wanted.values()), sum(wanted[file] for file in there)
    with progress(f"{told}, MB", _megabytes(total), _megabytes(done)) as advance:
        yield _bars(advance)


def _megabytes(size: int) -> int:
    return size // 1_000_000


def _bars(advance: Advance) -> type:
    from tqdm.auto import tqdm

    lock, come, shown = Lock(), 0, 0  # bytes, megabytes

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Of the two bars of bytes this one is about what is written, which has the files' sizes.
            self._counts = kwargs.get("unit") == "B" and "Reconstruct" in str(kwargs.get("desc"))
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            nonlocal come, shown
            if self._counts:
                with lock:
                    come += int(n or 0)
                    before, shown = shown, _megabytes(come)
                    advance(shown - before)

    return Bar
