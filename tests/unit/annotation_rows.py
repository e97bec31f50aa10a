"""Annotations of pairs of answers, as files that a check of a judge reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larpo_lib.evaluation.judge_check.reading import Annotated, read_annotations
from larpo_lib.judging.pairs import Pair


def row(instruction: str, first: str, second: str, preference: float | None, **more: Any) -> dict[str, Any]:
    given = {"instruction": instruction, "output_1": first, "output_2": second, "preference": preference}
    return {**given, "generator_1": "base", "generator_2": "tuned", "annotator": "someone", **more}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def annotated(instruction: str, model: str, said: Any, shown: bool | None, turned: bool) -> dict[str, Any]:
    """A row, whose preference of several orders is their mean."""
    more: dict[str, Any] = {"is_switched_outputs": shown}
    if isinstance(said, tuple):
        more["preference_by_order"] = said
        said = None if None in said else sum(said) / 2
    answers, names = ["x", f"longer {model}"], ["base", model]
    if turned:
        answers, names = answers[::-1], names[::-1]
    return row(instruction, *answers, said, generator_1=names[0], generator_2=names[1], **more)


def read(path: Path, rows: list[dict[str, Any]]) -> Mapping[Pair, Annotated]:
    return read_annotations([written(path, rows)]).by_pair
