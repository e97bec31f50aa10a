"""Small texts beside a run's artifacts: what its components tell each other, and what becomes of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import MANIFEST, METRICS, Metrics, make_directory, write_json
from larpo_lib.errors import LarpoError
from larpo_lib.storage import cache_dir, fetch, is_remote, upload, whole_directories
from larpo_lib.tracking.client import one_line

_STATE = "state.json"
_TICKET = "ticket.json"


def write(uri: str, name: str, value: Any) -> None:
    """Write a JSON file into a directory or below a prefix, in place of an earlier one."""
    if not is_remote(uri):
        make_directory(Path(uri))
        write_json(Path(uri) / name, value)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / name, value)
        upload(Path(folder), uri, last=name)


def read(uri: str, name: str) -> Any:
    """A JSON file. Raises StorageError or FileNotFoundError where there is none."""
    return json.loads(fetch(f"{uri}/{name}", cache_dir()).read_text("utf-8"))


def directories(root: str, name: str) -> list[str]:
    """The directories below a root, which need not be there, that hold a file of that name."""
    if is_remote(root):
        return whole_directories(root, last=name)
    return sorted(str(path.parent) for path in Path(root).rglob(name) if ".partial" not in str(path))


def measured(evaluations: Mapping[int, str]) -> dict[int, Metrics]:
    """The metrics of those evaluations that are there, by iteration."""
    return {i: read(uri, METRICS) for i, uri in evaluations.items() if uri in directories(_parent(uri), MANIFEST)}


def keep_ticket(root: str, ticket: str) -> None:
    """Leave a run's ticket for the exit handler, which runs even where nothing else did."""
    write(f"{root}/ticket", _TICKET, json.loads(ticket))


def kept_ticket(root: str) -> str | None:
    """A run's ticket, if it came so far."""
    if f"{root}/ticket" not in directories(root, _TICKET):
        return None
    return json.dumps(read(f"{root}/ticket", _TICKET))


@contextmanager
def journal(root: str, name: str) -> Iterator[None]:
    """Note that a step is at work, and how it ended; what died without a word stays noted as at work.

    Args:
        root: of the run.
        name: of the step, its iteration and its share.
    """
    place = f"{root}/journal/{name}"
    write(place, _STATE, {"step": name, "state": "running", "cause": ""})
    try:
        yield
    except BaseException as error:
        try:
            write(place, _STATE, {"step": name, "state": "failed", "cause": one_line(error)})
        except LarpoError as second:  # the first error is the one to mend
            error.add_note(str(second))
        raise
    write(place, _STATE, {"step": name, "state": "done", "cause": ""})


def unfinished(root: str) -> list[dict[str, str]]:
    """What the journals below a root note of steps that failed or are at work still."""
    noted = [(uri, read(uri, _STATE)) for uri in directories(root, _STATE)]
    return [
        {**entry, "step": uri.removeprefix(f"{root}/").replace("journal/", "")}
        for uri, entry in noted
        if entry["state"] != "done"
    ]


def _parent(uri: str) -> str:
    return uri.rpartition("/")[0]
