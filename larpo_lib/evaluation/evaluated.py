"""Evaluations that benchmarks go on from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import read_manifest, read_metrics, recorded_digest
from larpo_lib.errors import ArtifactError
from larpo_lib.provenance import Recorded, read_settings, sampled_with

UNSCORED = "too_long_to_score_dropped"


class _RecordedNumber(Recorded):
    n: int


def check_origin(evaluated: Path, given: Mapping[str, Path]) -> None:
    """Log-probabilities are to be those of the policy that sampled, behind the prompts it was asked.

    Args:
        evaluated: artifact of the step `evaluate`.
        given: `policy` and `prompts`.

    Raises:
        ArtifactError: it was made with others.
    """
    recorded = read_manifest(evaluated)["inputs"]
    for name, path in given.items():
        if recorded.get(name) != recorded_digest(path):
            raise ArtifactError(
                f"{evaluated}: was not made with the {name} in {path}",
                remedy=f"Pass the {name} of that evaluation, or evaluate again",
            )


def sampling_of(evaluated: Path) -> dict[str, Any]:
    """How the responses of an evaluation were sampled, and how many, as a report's `made_by` holds it.

    Raises:
        ArtifactError: `evaluated` was made by another step.
    """
    return {**sampled_with(evaluated), "n": read_settings(evaluated, _RecordedNumber).n}


def unscored(evaluated: Path) -> int:
    """How many responses, greedy ones included, an evaluation lacks because its reward model could not score them."""
    return int(read_metrics(evaluated).get(UNSCORED, 0) or 0)


def unscored_told(count: int, what: str) -> list[str]:
    """The caveat of a benchmark that goes on from an evaluation which lacks responses; `what` these change."""
    said = f"{count} responses, greedy ones included, could not be scored by the evaluation's reward model"
    return [f"{said}, such as too long ones, and are missing here: {what}"] if count else []
