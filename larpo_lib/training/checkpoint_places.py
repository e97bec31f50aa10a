"""Where trainings keep their checkpoints, and what they leave there. Loads no torch."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from larpo_lib import storage
from larpo_lib.errors import ArtifactError, StorageError
from larpo_lib.files import read_json, write_json

INDEX = "checkpoint.json"
_RECORD = "checkpoint-places.json"
_LOG = logging.getLogger(__name__)


def own_place(uri: str, fingerprint: str, output: Path | None) -> str:
    """A place of a training's own: no other settings or inputs, and no other output, so that no two write there.

    Args:
        uri: the directory or s3:// URI that it was given for them.
        fingerprint: of what it makes.
        output: where it makes it on this machine; None: nowhere.
    """
    return f"{shared_place(uri, fingerprint)}-{storage.short_hash(_name(output))}"


def shared_place(uri: str, fingerprint: str) -> str:
    """Where larpo kept them while equal trainings of several outputs shared a place."""
    return f"{storage.located(uri).rstrip('/')}/{fingerprint[:16]}"


def _name(output: Path | None) -> str:
    """A name of an output: of one that goes to a store, the same on every machine."""
    if output is None:
        return ""
    place, cache = output.absolute(), storage.cache_dir().absolute()
    return str(place.relative_to(cache) if place.is_relative_to(cache) else place)


def record_place(scratch: Path, place: str, output: Path | None) -> None:
    """Note in a step's scratch folder that checkpoints of an output are kept at a place."""
    scratch.mkdir(parents=True, exist_ok=True)
    known = recorded_places(scratch)
    if place not in known:
        owners = {**known, place: _name(output)}
        write_json(scratch / _RECORD, {"places": [*owners], "owners": owners})


def recorded_places(scratch: Path) -> dict[str, str]:
    """The places that were noted, in turn, each with the name of its output; empty: it is not known."""
    path = scratch / _RECORD
    with suppress(ArtifactError):  # damaged: then they are not known
        found = read_json(path, remedy="") if path.exists() else {}
        return {str(place): str(found.get("owners", {}).get(place, "")) for place in found.get("places", [])}
    return {}


def places_of(output: Path) -> dict[str, str]:
    """The places of checkpoints of an output that is half done, as `recorded_places` has them."""
    scratches = sorted(output.parent.glob(f".{output.name}.partial/*/scratch"))
    return {place: owner for scratch in scratches for place, owner in recorded_places(scratch).items()}


def is_anothers(place: str, owner: str, output: Path | None) -> bool:
    """Whether another output that is half done has its checkpoints there: one that `output` is a copy of.

    Args:
        place: that was noted.
        owner: name of the output that it was noted for.
        output: the one that asks.
    """
    return owner not in ("", _name(output)) and place in places_of(storage.cache_dir() / owner)


def whole_ones(place: str) -> list[str]:
    """The paths or URIs of the checkpoints at a place that were written to their end."""
    if storage.is_remote(place):
        return storage.complete_directories(place, last=INDEX)
    return [str(path) for path in Path(place).glob("step-*")]


def whole_ones_of_equals(uri: str, fingerprint: str) -> list[str]:
    """As `whole_ones`, of equal trainings whatever their outputs: of one whose machine is lost, on another machine.

    Args:
        uri: the directory or s3:// URI that checkpoints are kept in.
        fingerprint: of what the trainings make.
    """
    shared = shared_place(uri, fingerprint)
    if storage.is_remote(shared):
        return [whole for whole in whole_ones(shared.rpartition("/")[0]) if whole.startswith(f"{shared}-")]
    return [str(path) for path in Path(shared).parent.glob(f"{Path(shared).name}-*/step-*")]


def whole_ones_before(places: Iterable[str]) -> Iterator[str]:
    """As `whole_ones`, of places that a training has left: one that cannot be read any more is told of."""
    for place in places:
        try:
            yield from whole_ones(place)
        except StorageError as error:
            _LOG.warning("%s: checkpoints that were kept there are not looked for: %s", place, error.problem)


def delete_checkpoints(place: str) -> None:
    """Remove all that a training kept at a place, once what it made is published.

    Raises:
        StorageError: the store refuses.
    """
    if storage.is_remote(place):
        storage.delete(place, first=INDEX)
        return
    for whole in Path(place).glob("step-*"):
        remove(str(whole))
    shutil.rmtree(place, ignore_errors=True)


def delete_checkpoints_before(places: Iterable[str]) -> None:
    """As `delete_checkpoints`, of places that a training has left: what cannot be removed any more is told of."""
    for place in places:
        try:
            delete_checkpoints(place)
        except StorageError as error:
            _LOG.warning("%s: checkpoints that were kept there are left: %s", place, error.problem)


def remove(whole: str) -> None:
    """Remove a checkpoint so that a crash leaves none that only looks whole; one that is gone is removed."""
    if storage.is_remote(whole):
        storage.delete(whole, first=INDEX)
        return
    torn = Path(whole).with_name(f".{Path(whole).name}")
    with suppress(FileNotFoundError):
        Path(whole).rename(torn)
        shutil.rmtree(torn)
