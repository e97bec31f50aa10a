"""Half-done work of a step: kept until its output is published, and lost only to who asks for it.

It is in `.NAME.partial/FINGERPRINT-TOKEN` beside the output, with a file that says what is being made, so that a
changed setting can be named. The token is of one process: whoever goes on with half-done work renames its folder, which
only one can do, and leaves nothing to a process that was thought to be gone.
"""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from larpo_lib.config.differences import differences
from larpo_lib.errors import ArtifactError, HeldError
from larpo_lib.files import make_directory, read_json, write_json
from larpo_lib.results import other_results

VARIABLE = "LARPO_DISCARD_PARTIAL"
"""Variable of the environment that, as 1, lets half-done work of other settings go; processes of a step inherit it."""

DATA, SCRATCH, IDENTITY = "data", "scratch", "identity.json"

_LOG = logging.getLogger(__name__)


def begin(output: Path, identity: Mapping[str, Any], fingerprint: str) -> Path:
    """The folder to make an artifact in: an empty `data`, and in `scratch` what an earlier start has left.

    Args:
        output: what is made.
        identity: what it is made from.
        fingerprint: of that.

    Raises:
        ArtifactError: another one is half done, and may not go; names what has changed.
        HeldError: another process has taken over the folder meanwhile, where locks do not keep them apart.
        StorageError: there is something else in its place.
    """
    here = _partial(output) / f"{fingerprint[:16]}-{uuid.uuid4().hex[:8]}"
    for other in _folders(output):
        if not _is_of(other, fingerprint):
            if _has_work(other):
                what = changes(_recorded(other), identity) or "settings that were not recorded"
                _refuse(output, what)
                _LOG.warning("%s: half-done work with %s is discarded", output, what)
            shutil.rmtree(other)
    for left in sorted((one for one in _folders(output) if _is_of(one, fingerprint)), key=_last_change, reverse=True):
        with suppress(FileNotFoundError):  # another process was faster
            left.rename(here)
            break
    shutil.rmtree(here / DATA, ignore_errors=True)
    for folder in (here / DATA, here / SCRATCH):
        make_directory(folder)  # tells of a file in its place
    try:
        write_json(here / IDENTITY, identity)
    except FileNotFoundError:
        raise HeldError(
            f"{output}: another process has taken it over as it was begun",
            remedy="Wait until it ends, and run the same command again",
        ) from None
    return here


def refuse_other_settings(output: Path, settings: Mapping[str, Any]) -> None:
    """Refuse what `begin` will refuse by the settings alone, before other steps are made for it.

    Args:
        output: what is to be made.
        settings: identity of the step's settings.

    Raises:
        ArtifactError: names what has changed.
    """
    for folder in filter(_has_work, _folders(output)):
        if what := changes(_recorded(folder), {"config": settings}):
            _refuse(output, what)


def changes(recorded: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """What differs between two identities, as far as both know; empty where nothing does."""
    now = json.loads(json.dumps(identity))  # as the file has it: no tuples
    known = {name: recorded[name] for name in now if name in recorded and name != "code"}
    what = differences(known, {name: now[name] for name in now if name != "code"}) if recorded else ""
    results = other_results(now["step"], recorded["code"]) if {"step", "code"} <= now.keys() & recorded.keys() else ""
    return "; ".join(filter(None, (what, results)))


def _refuse(output: Path, what: str) -> None:
    if os.environ.get(VARIABLE) != "1":
        raise ArtifactError(
            f"{output}: is half done with {what}",
            remedy="Undo the change to continue, choose another output, or run `larpo --discard-partial ...` to "
            "discard the half-done work",
        )


def end(output: Path, fingerprint: str) -> None:
    """Remove the folders of an artifact that is published."""
    for folder in [one for one in _folders(output) if _is_of(one, fingerprint)]:
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # there is something else in it, or it is gone
        _partial(output).rmdir()


def _partial(output: Path) -> Path:
    return output.parent / f".{output.name}.partial"


def _folders(output: Path) -> Iterator[Path]:
    return (path for path in sorted(_partial(output).glob("*")) if path.is_dir())


def _is_of(folder: Path, fingerprint: str) -> bool:
    return folder.name.partition("-")[0] == fingerprint[:16]


def _last_change(folder: Path) -> int:
    return max((path.stat().st_mtime_ns for path in (folder / SCRATCH).rglob("*") if path.is_file()), default=0)


def _has_work(folder: Path) -> bool:
    """Whether anything whole is in its scratch folder; what is being written has a name that begins with a dot."""
    scratch = folder / SCRATCH
    found = (path for path in scratch.rglob("*") if path.is_file())
    return any(not any(part.startswith(".") for part in path.relative_to(scratch).parts) for path in found)


def _recorded(folder: Path) -> dict[str, Any]:
    with suppress(ArtifactError):
        return read_json(folder / IDENTITY, remedy="")
    return {}
