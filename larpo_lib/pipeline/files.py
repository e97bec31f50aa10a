"""Small texts beside a run's artifacts: what its components tell each other."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import MANIFEST, METRICS, Metrics
from larpo_lib.files import make_directory, read_json, write_json
from larpo_lib.storage import cache_dir, complete_directories, fetch, is_remote, upload
from larpo_lib.storage.client import store_client
from larpo_lib.storage.locations import Location
from larpo_lib.storage.manifests import stored_manifest


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
    """A JSON file. Raises StorageError or ArtifactError where there is none, or it is damaged."""
    return read_json(fetch(f"{uri}/{name}", cache_dir()), remedy="Run the step that writes it again")


def manifest(uri: str) -> dict[str, Any] | None:
    """The manifest of an artifact in a store; None where none is, or its files are not yet in their places."""
    found = stored_manifest(store_client(), Location.parse(uri)) if is_remote(uri) else None
    return None if found is None or found.staging else found.content


def directories(root: str, name: str) -> list[str]:
    """The directories below a root, which need not be there, that hold a file of that name."""
    if is_remote(root):
        return complete_directories(root, last=name)
    return sorted(str(path.parent) for path in Path(root).rglob(name) if ".partial" not in str(path))


def measured(evaluations: Mapping[int, str]) -> dict[int, Metrics]:
    """The metrics of those evaluations that are there, by iteration."""
    there = {i: directories(uri.rpartition("/")[0], MANIFEST) for i, uri in evaluations.items()}
    return {i: read(uri, METRICS) for i, uri in evaluations.items() if uri in there[i]}
