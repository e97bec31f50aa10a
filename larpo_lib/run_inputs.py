"""What a step has read against what is there now. Of a finished run no step is begun, which would look."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import recorded_digest
from larpo_lib.config import PrepareConfig, Section
from larpo_lib.config.base import with_models
from larpo_lib.errors import DataError, LarpoError
from larpo_lib.sources.locating import is_dataset, locate
from larpo_lib.storage import is_remote

Digest = Callable[[Path], str | None]


def digest_there(path: Path) -> str | None:
    """The digest of what is there; None where nothing is, or nothing that a step could read."""
    with suppress(LarpoError, OSError):
        return recorded_digest(path)
    return None


def changed_input(config: Section, given: Mapping[str, str], recorded: Mapping[str, str], digest: Digest) -> str:
    """The first thing on this machine that a step would now read with other content than it has read.

    Args:
        config: of the step: its source, and its models and templates.
        given: other inputs from outside of the run, by argument: paths or URIs.
        recorded: the inputs in the manifest of what it made.
        digest: `digest_there`, perhaps with a memory.

    Returns:
        A path, or a source; empty: nothing that is there has changed.
    """
    for name, place in given.items():
        if name in recorded and _differs(digest(Path(place)), [recorded[name]]):
            return place
    for name, path in _models(config):
        of_step = [known for key, known in recorded.items() if f"_{key}".endswith(f"_{name}")]
        if of_step and _differs(digest(path), of_step):
            return str(path)
    if isinstance(config, PrepareConfig):
        files = {name: known for name, known in recorded.items() if name.partition("/")[0] == "source"}
        there = {name: digest(path) for name, path in _files(config).items()}
        if files and there and there != files:
            return config.source
    return ""


def _differs(now: str | None, before: list[str]) -> bool:
    return now is not None and now not in before


def _models(value: Any) -> Iterator[tuple[str, Path]]:
    """Directories and files that settings name, by the ends of their names among inputs; none that are elsewhere."""
    if isinstance(value, tuple):
        for part in value:
            yield from _models(part)
    if not isinstance(value, Section):
        return
    places: dict[str, str] = {}
    with_models(value, lambda text: places.setdefault(text, text))
    models = getattr(value, "models", None)
    if callable(models) and all(Path(place).exists() for place in places):
        with suppress(LarpoError):  # adapters whose base is not here
            yield from models().items()
    for name in type(value).model_fields:
        yield from _models(getattr(value, name))


def _files(config: PrepareConfig) -> Mapping[str, Path]:
    """Those of a source, by their names among inputs; none where it is elsewhere."""
    with suppress(DataError):
        if not is_remote(config.source) and not is_dataset(config.source):
            return locate(config.source, Path(config.source), config.split).inputs
    return {}
