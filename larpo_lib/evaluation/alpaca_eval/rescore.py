"""AlpacaEval's win rates from stored preferences, of one model or several."""

from pathlib import Path
from typing import Any

from larpo_lib.evaluation.alpaca_eval.files import read_length_control, read_preferences, require_whole
from larpo_lib.evaluation.alpaca_eval.scoring import SIZE, score


def run(*, preferences: Path, gamed: Path | None, difficulty: Path | None, partial: bool) -> dict[str, Any]:
    """The scores of every model in a file of preferences.

    Args:
        preferences: as `write_preferences` writes it, or annotations in the official format.
        gamed, difficulty: as of the step.
        partial: models may have fewer than AlpacaEval's instructions.

    Raises:
        ConfigError: a model has not, and `partial` is not set.
        DataError: a file is missing or malformed.
    """
    control = read_length_control(gamed, difficulty)
    models = read_preferences(preferences)
    for model, comparisons in models.items():
        require_whole(len(comparisons), f"{preferences}, model {model}", partial=partial)
    return {
        model: dict(sorted({**score(rows, control).metrics(), "partial": len(rows) != SIZE}.items()))
        for model, rows in sorted(models.items())
    }
