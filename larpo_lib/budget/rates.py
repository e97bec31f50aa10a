"""Rates that an earlier run had, from the seconds of its steps."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from larpo_lib.errors import ConfigError
from larpo_lib.run_files import SECONDS

_RATES = {"sample": "sample", "rerank": "rerank", "train": "train", "sft": "train"}
"""The rate that a step tells; of two steps that tell one, the one that comes later in a run is preferred."""


def measured_rates(run: Path) -> dict[str, float]:
    """Tokens of responses a second by the name of the rate: sample, rerank, train.

    Args:
        run: the run's directory.

    Raises:
        ConfigError: it has no seconds of steps.
    """
    path = run / SECONDS
    try:
        rows: Sequence[dict[str, Any]] = json.loads(path.read_text("utf-8"))["steps"]
        seconds: dict[str, float] = defaultdict(float)
        tokens: dict[str, float] = defaultdict(float)
        for row in rows:
            if row["response_tokens"] and not row["resumed"]:
                seconds[row["step"]] += row["seconds"]
                tokens[row["step"]] += row["response_tokens"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: cannot be read: {error}",
            remedy="Pass the directory of a run of this version of larpo, or state rates with --sample-rate,"
            " --rerank-rate and --train-rate",
        ) from None
    found: dict[str, float] = {}
    for step in ("sft", "train", "sample", "rerank"):
        if seconds[step] > 0:
            found[_RATES[step]] = tokens[step] / seconds[step]
    return found
