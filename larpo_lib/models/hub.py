"""Models by their names on the Hugging Face hub: `org/name`, or `org/name@revision` with a branch, a tag or a commit.

`huggingface_hub` fetches them into its own cache. What larpo reads is a folder of links to the cached files: those that
a model is read from, never code, and of weights safetensors alone. It is the same for everyone who has that commit.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from larpo_lib import storage
from larpo_lib.adapters import CONFIG as ADAPTER_CONFIG
from larpo_lib.adapters import WEIGHTS as ADAPTER_WEIGHTS
from larpo_lib.adapters import cached
from larpo_lib.artifacts import HUB_MARK, MANIFEST
from larpo_lib.errors import ModelError, StorageError
from larpo_lib.files import write_json
from larpo_lib.models.hub_requests import download, listing
from larpo_lib.parsing import parse_json
from larpo_lib.progress import tell
from larpo_lib.storage.fetching import short_hash, waiting_lock

INDEX, WEIGHTS, MODULES = "model.safetensors.index.json", "model.safetensors", "modules.json"
_DESCRIPTION = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAIN = "main"
_PAGES = frozenset({"models", "datasets", "spaces", "collections"})
"""Pages of the hub, which no organisation can be named as; folders of models often are."""


@dataclass(frozen=True)
class HubModel:
    """A model of the hub.

    Attributes:
        name: `org/name`.
        revision: a branch, a tag, or a commit.
    """

    name: str
    revision: str = _MAIN

    @classmethod
    def parse(cls, text: str) -> HubModel | None:
        """The model that a text names; None: it is a URI, or a path by its form or because something is there."""
        name, at, revision = text.partition("@")
        possible = _NAME.fullmatch(name) and ".." not in name and "--" not in name and (revision or not at)
        if not possible or name.partition("/")[0] in _PAGES or Path(text).exists():
            return None
        return cls(name, revision or _MAIN)

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit."""
        return _COMMIT.fullmatch(self.revision) is not None

    @property
    def own_name(self) -> str:
        """The name without the organisation's."""
        return self.name.partition("/")[2]

    def __str__(self) -> str:
        return self.name if self.revision == _MAIN else f"{self.name}@{self.revision}"


def local_model(text: str) -> Path:
    """A model's directory on this machine: a local one as it is, one of the hub or of a store fetched into the cache.

    Raises:
        ModelError: as of `fetch`.
        StorageError: the store refuses the read or stays away, or the cache cannot be written.
    """
    if storage.is_remote(text):
        return storage.fetch(text, storage.cache_dir())
    model = HubModel.parse(text)
    if model is not None:
        return fetch(model)
    _fetch_base(Path(text), anew=False)
    return Path(text)


def pin(text: str) -> str:
    """`org/name@commit` of a model of the hub, as it is at this moment; any other text as it is.

    Raises:
        ModelError: there is no such model or revision, it may not be read, or the hub cannot be reached and the cache
            does not know the revision.
    """
    model = HubModel.parse(text)
    return text if model is None else str(_pinned(model))


def label(text: str) -> str:
    """A model's short name in results: the last part of a path, or the name and revision of a model of the hub."""
    model = HubModel.parse(text)
    if model is None:
        return Path(text).name
    return str(replace(model, name=model.own_name, revision=model.revision[:8] if model.pinned else model.revision))


def describe(model: HubModel) -> Path:
    """A folder with all of a model but its weights, after a check that it has those in safetensors.

    Raises:
        ModelError: as of `fetch`.
    """
    return _described(_pinned(model))[0]


def fetch(model: HubModel) -> Path:
    """A folder with a model's files, fetched where they are not in the cache.

    Raises:
        ModelError: as of `pin`, or the model has no weights in safetensors.
        StorageError: the cache cannot be written.
    """
    model = _pinned(model)
    view = storage.cache_dir() / "hub" / short_hash(str(model)) / model.own_name
    if _is_whole(view):
        return view
    snapshot, description, weights = _described(model)
    download(model.name, model.revision, weights, told=label(str(model)))
    base = _fetch_base(snapshot)
    try:
        with waiting_lock(view.parent):
            if not _is_whole(view):
                _link(model, snapshot, [*description, *weights], base, view)
    except OSError as error:
        problem = f"{view}: cannot be created: {error.strerror}"
        raise StorageError(problem, remedy="Set LARPO_CACHE to a directory that can be written") from error
    return view


def _pinned(model: HubModel) -> HubModel:
    if model.pinned:
        return model
    found = replace(model, revision=download(model.name, model.revision, ["config.json", ADAPTER_CONFIG]).name)
    tell(f"{model}: commit {found.revision}")
    return found


def _described(model: HubModel) -> tuple[Path, list[str], list[str]]:
    """The snapshot with all of a model but its weights, the names of these files, and those of the weights."""
    snapshot = download(model.name, model.revision, ["config.json", ADAPTER_CONFIG, MODULES])
    there = listing(model.name, snapshot)
    if not {"config.json", ADAPTER_CONFIG, MODULES} & there:
        raise ModelError(
            f"{model}: is not a model that transformers can load (no config.json)",
            remedy="Use a model in the format of transformers, with weights in safetensors",
        )
    folders = _folders(model, snapshot) if MODULES in there else []
    description = sorted(name for name in there if _is_read(name, folders))
    download(model.name, model.revision, description)
    return snapshot, description, _weights(model, snapshot, there, folders)


def _is_read(name: str, folders: Collection[str]) -> bool:
    folder, _, file = name.rpartition("/")
    if file in (MANIFEST, HUB_MARK):  # of a policy whose whole directory was uploaded: what a model is, its commit says
        return False
    place = folder in ("", "additional_chat_templates") or folder in folders
    return place and any(fnmatchcase(file, pattern) for pattern in _DESCRIPTION)


def _folders(model: HubModel, snapshot: Path) -> list[str]:
    """The folders of a sentence-transformers model's modules."""
    try:
        return [str(module["path"]) for module in _read(model, snapshot / MODULES)]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{model}: {MODULES} does not list modules") from error


def _weights(model: HubModel, snapshot: Path, there: Collection[str], folders: Collection[str]) -> list[str]:
    """The files of weights that the model is read from: a repository may hold the same in other formats besides."""
    if ADAPTER_CONFIG in there:
        needed = [ADAPTER_WEIGHTS]
    else:
        needed = [name for folder in folders or [""] for name in _weights_in(model, snapshot, folder)]
    pickled = sorted(name for name in there if any(fnmatchcase(name, pattern) for pattern in _PICKLES))
    for name in needed:
        beside = [file for file in pickled if _folder(file) == _folder(name)]
        if name not in there and (beside or not folders):  # modules such as pooling have no weights
            raise ModelError(
                f"{model}: has no {name}" + (f", only {beside[0]}" if beside else ""),
                remedy="Only weights in safetensors are read. Use a revision that has them, or load the model yourself,"
                " save it with save_pretrained, and give that directory",
            )
    return [name for name in needed if name in there]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _weights_in(model: HubModel, snapshot: Path, folder: str) -> list[str]:
    place = f"{folder}/" if folder else ""
    index = snapshot / f"{place}{INDEX}"
    if not index.is_file():
        return [f"{place}{WEIGHTS}"]
    try:
        return [f"{place}{name}" for name in sorted(set(_read(model, index)["weight_map"].values()))]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{model}: {index.name} has no weight_map") from error


def _read(model: HubModel, file: Path) -> Any:
    try:
        return parse_json(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: {file.name} cannot be read: {error}") from error


def _fetch_base(adapters: Path, *, anew: bool = True) -> Path | None:
    """The base of a folder of adapters, where they name it by its name on the hub; None where they do not.

    Args:
        adapters: the folder.
        anew: whether the hub is asked also where the cache has a base of that name.
    """
    try:
        settings = parse_json((adapters / ADAPTER_CONFIG).read_text("utf-8"))
        named, revision = str(settings.get("base_model_name_or_path")), settings.get("revision")
    except (OSError, ValueError, AttributeError):
        return None  # these are none, or who reads them tells what is wrong
    base = None if (adapters / named).is_dir() else HubModel.parse(named)
    if base is None or not (anew or cached(named, revision) is None):
        return None
    return fetch(replace(base, revision=revision or base.revision))


def _is_whole(view: Path) -> bool:
    """Whether a folder of links is there, and what they lead to."""
    return (view / HUB_MARK).is_file() and all(path.exists() for path in view.rglob("*"))


def _link(model: HubModel, snapshot: Path, names: Collection[str], base: Path | None, view: Path) -> None:
    """Make the folder of links; adapters name the folder of their base."""
    partial = view.with_name(f".{view.name}.partial")
    for stale in (partial, view):
        shutil.rmtree(stale, ignore_errors=True)
    for name in names:
        link = partial / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((snapshot / name).absolute())
    if base is not None:
        settings = _read(model, snapshot / ADAPTER_CONFIG)
        (partial / ADAPTER_CONFIG).unlink()
        write_json(partial / ADAPTER_CONFIG, {**settings, "base_model_name_or_path": str(base.absolute())})
    write_json(partial / HUB_MARK, {"model": str(model)})
    partial.rename(view)
