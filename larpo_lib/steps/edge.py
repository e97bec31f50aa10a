"""The edge of a step: its artifacts as local paths, and what a training keeps until its output is published."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from larpo_lib.adapters import is_adapter
from larpo_lib.artifacts import read_manifest
from larpo_lib.config import Section, TrainingConfig
from larpo_lib.config.base import SectionT, with_models
from larpo_lib.launcher import is_secondary_process
from larpo_lib.models.hub import HubModel, local_model, pin
from larpo_lib.steps.declarations import Step
from larpo_lib.storage import cache_dir, is_remote, localize, output_path
from larpo_lib.training.checkpoint_places import (
    delete_checkpoints,
    delete_checkpoints_before,
    is_anothers,
    own_place,
    places_of,
    shared_place,
)

Location = str | Sequence[str] | None
"""Where an artifact is, or several are: paths or s3:// URIs."""


@contextmanager
def at_edge(
    config: Section | None,
    inputs: Mapping[str, Location],
    outputs: Mapping[str, str],
    without_weights: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Local paths for a step's arguments; outputs are published and then checkpoints removed behind the block.

    Whatever stops before the outputs are published, be it the upload of a policy, leaves the checkpoints to the next
    attempt, which may be on another machine. A process that only helps another one publishes nothing.

    Args:
        config: the step's settings; None where it has none.
        inputs: where they are, by argument.
        outputs: where they go, by argument; of a step that trains, the policy alone.
        without_weights: inputs whose weights are not read; see `fetch`.

    Yields:
        A path, a list of paths or None for each argument.

    Raises:
        ModelError: a model of the hub cannot be fetched.
        StorageError: as of `localize`, or the checkpoints cannot be removed.
    """
    trains = isinstance(config, TrainingConfig) and not is_secondary_process()
    kept = config.checkpoints if isinstance(config, TrainingConfig) and trains else None
    made = {name: output_path(uri) for name, uri in outputs.items()} if trains else {}
    before = {output: places_of(output) for output in made.values()}  # they go with the half-done work
    given = {name: _fetched(uri) for name, uri in _flat(inputs).items()}
    with localize(given, _own(outputs), without_weights=without_weights) as paths:
        yield {name: _nested(name, given, paths) for name, given in {**inputs, **outputs}.items()}
        fingerprints = {name: read_manifest(paths[name])["fingerprint"] for name in outputs} if kept else {}
    places = [
        place
        for name, fingerprint in fingerprints.items()
        for place in (own_place(kept or "", fingerprint, made[name]), shared_place(kept or "", fingerprint))
    ]
    for place in places:
        delete_checkpoints(place)
    for output, known in before.items():
        left = [place for place, owner in known.items() if not is_anothers(place, owner, output)]
        delete_checkpoints_before(place for place in left if place not in places)


def pinned(
    step: Step, config: SectionT | None, inputs: Mapping[str, Location]
) -> tuple[SectionT | None, dict[str, Location]]:
    """A step's settings and inputs with each model of the hub at its commit of this moment.

    Raises:
        ModelError: the hub has no such model, or it cannot be reached.
    """
    models = {one.name for one in step.inputs if one.model}
    places = {
        name: pin(given) if name in models and isinstance(given, str) else given for name, given in inputs.items()
    }
    return None if config is None else with_models(config, pin), places


def _fetched(uri: str) -> str:
    """The place of an input; of a model of the hub, pinned to a commit, and of adapters of one, that in the cache.

    Where an artifact is may look like the name of such a model, but not with a commit.
    """
    model = HubModel.parse(uri)
    of_hub = is_adapter(Path(uri)) if model is None else model.pinned
    return str(local_model(uri)) if of_hub and not is_remote(uri) else uri


def _own(outputs: Mapping[str, str]) -> Mapping[str, str]:
    """The outputs that this process publishes: none where it only helps another one to make them."""
    if not is_secondary_process():
        return outputs
    return {name: str(cache_dir() / "followed" / name) if is_remote(uri) else uri for name, uri in outputs.items()}


def _flat(inputs: Mapping[str, Location]) -> dict[str, str]:
    """A name for every location; what is None is left out."""
    found = {}
    for name, given in inputs.items():
        if isinstance(given, str):
            found[name] = given
        elif given is not None:
            found.update({f"{name}.{i}": uri for i, uri in enumerate(given)})
    return found


def _nested(name: str, given: Location, paths: Mapping[str, Path]) -> Path | list[Path] | None:
    if given is None:
        return None
    return paths[name] if isinstance(given, str) else [paths[f"{name}.{i}"] for i in range(len(given))]
