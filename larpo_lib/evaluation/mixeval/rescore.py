"""MixEval's scores from stored judgements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from larpo_lib.evaluation.mixeval.scoring import as_json, read_judged, score


def run(*, judged: Sequence[Path]) -> dict[str, Any]:
    """The scores of the judgements in all files together.

    Raises:
        DataError: a file is missing or malformed.
    """
    return as_json(score(read_judged(judged)))
