"""The edge of a step that may train: `storage.localize`, and what the training keeps until its output is published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from larpo_lib.artifacts import read_manifest
from larpo_lib.config import Section, TrainingConfig
from larpo_lib.launcher import is_secondary_process
from larpo_lib.storage import localize


@contextmanager
def at_edge(config: Section | None, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Iterator[dict[str, Path]]:
    """Local paths for a step's arguments; outputs are published and then checkpoints removed behind the block.

    Whatever stops before the outputs are published, be it the upload of a policy, leaves the checkpoints to the next
    attempt, which may be on another machine.

    Args:
        config: the step's settings; None where it has none.
        inputs: as of `localize`.
        outputs: as of `localize`; of a step that trains, the policy alone.

    Raises:
        StorageError: as of `localize`, or the checkpoints cannot be removed.
    """
    place = config.checkpoints if isinstance(config, TrainingConfig) and not is_secondary_process() else None
    with localize(inputs, outputs) as paths:
        yield paths
        fingerprints = [read_manifest(paths[name])["fingerprint"] for name in outputs] if place else []
    if place:
        from larpo_lib.training.checkpoints import delete_checkpoints  # loads torch

        for fingerprint in fingerprints:
            delete_checkpoints(place, fingerprint)
