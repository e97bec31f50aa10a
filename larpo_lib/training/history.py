"""The training history beside a trained model: a line of metrics for each optimiser step."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from larpo_lib.errors import ArtifactError
from larpo_lib.files import read_json_lines

HISTORY = "history.jsonl"
TOP_LIST = "top_list_gradient_share"
"""The largest list's share of the sum of |dL/dlogp| over the step's responses; 0 where nothing has a gradient."""


def write_history(directory: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write it beside a model."""
    (directory / HISTORY).write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in history), "utf-8")


def read_history(trained: Path) -> list[dict[str, float]]:
    """The history beside a trained model.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    path = trained / HISTORY
    try:
        return read_json_lines(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file", remedy="Use a directory that `larpo train` wrote") from None
    except (UnicodeDecodeError, ValueError):
        raise ArtifactError(f"{path}: is damaged", remedy="Delete the artifact and make it again") from None
