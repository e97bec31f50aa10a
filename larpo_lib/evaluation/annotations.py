"""Annotations of pairs of answers in AlpacaEval's format: who preferred which answer to an instruction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.judging.pairs import Judgements, Pair
from larpo_lib.sources.cells import Cell
from larpo_lib.sources.reading import Raw, RawRow

DRAW = 1.5


@dataclass(frozen=True)
class Annotation:
    """One row.

    Attributes:
        pair: the instruction, with `output_1` as the reference's answer and `output_2` as the model's.
        generators: who wrote the two; empty where it is not said.
        annotator: who prefers; empty where it is not said.
        preference: from 1, the first answer is better, to 2, the second is; None: it could not be read.
        orders: preferences with the answers shown in the order that the judge was first asked in, and in the other one;
            None where only one was asked.
        second_first: whether the second answer was shown first; None where it is not said.
    """

    pair: Pair
    generators: tuple[str, str]
    annotator: str
    preference: float | None
    orders: tuple[float | None, float | None] | None = None
    second_first: bool | None = None


def is_annotation(row: RawRow) -> bool:
    """Whether a row is one, and not one of a table of preferences."""
    return "output_2" in row.values


def annotation(raw: Raw, row: RawRow) -> Annotation:
    """Read a row.

    Raises:
        DataError: it is malformed.
    """
    shown = row.values.get(_SWITCHED)
    return Annotation(
        pair=Pair(
            cell(raw, row, "instruction").text(),
            answer_text(cell(raw, row, "output_1")),
            answer_text(cell(raw, row, "output_2")),
        ),
        generators=(str(row.values.get("generator_1") or ""), str(row.values.get("generator_2") or "")),
        annotator=str(row.values.get("annotator") or ""),
        preference=preference(cell(raw, row, "preference")),
        orders=_orders(cell(raw, row, _ORDERS)),
        second_first=shown if isinstance(shown, bool) else None,
    )


def write_annotations(
    path: Path,
    annotator: str,
    pairs: Sequence[Pair],
    generators: Sequence[tuple[str, str]],
    judged: Judgements,
    orders: Sequence[tuple[float | None, float | None]] = (),
) -> None:
    """Write what a judge said in the official format, with the place of the answers besides.

    Args:
        path: the file.
        annotator: the protocol.
        pairs: what was judged.
        generators: who wrote the two answers of each.
        judged: of the pairs, in their order.
        orders: of the pairs, in their order, the preferences in both orders, if both were asked.
    """
    rows: list[dict[str, Any]] = [
        {
            "instruction": pair.instruction,
            "output_1": pair.reference,
            "generator_1": names[0],
            "output_2": pair.model,
            "generator_2": names[1],
            "annotator": annotator,
            "preference": preferred,
            "raw_completion": completion,
            _SWITCHED: shown,
        }
        for pair, names, preferred, completion, shown in zip(
            pairs, generators, judged.preferences, judged.completions, judged.model_first, strict=True
        )
    ]
    if orders:
        for row, both in zip(rows, orders, strict=True):
            row[_ORDERS] = both
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", "utf-8")


def preference(value: Cell) -> float | None:
    """A preference; 0 is a draw, as in older files, and nothing or NaN, as a number or text, is none.

    Raises:
        DataError: it is another number, or none.
    """
    if value.value is None or str(value.value).strip().lower() == "nan":
        return None
    if isinstance(value.value, bool) or str(value.value).lower() in ("true", "false"):
        raise value.error(f"is {str(value.value).lower()}, not a number", _PREFERENCES)
    number = value.number()
    if number == 0:
        return DRAW
    if not 1 <= number <= 2:
        raise value.error(f"is {number:g}, not 0 or from 1 to 2", _PREFERENCES)
    return number


_PREFERENCES = "Write 1 (the first answer is better), 2 (the second is), what is between, or null (it is not known)"


def _orders(value: Cell) -> tuple[float | None, float | None] | None:
    if value.value is None:
        return None
    if not isinstance(value.value, list) or len(value.value) != 2:
        raise value.error("is not a list of two preferences")
    return preference(value.at(0)), preference(value.at(1))


def answer_text(value: Cell) -> str:
    """The text of an answer, which may be empty.

    Raises:
        DataError: it is none.
    """
    if not isinstance(value.value, str):
        raise value.error("is not text")
    return value.value


def cell(raw: Raw, row: RawRow, field: str) -> Cell:
    """A value with its place."""
    return Cell(raw.origin, row.number, field, row.values.get(field))


_SWITCHED, _ORDERS = "is_switched_outputs", "preference_by_order"
"""Of rows that larpo writes: the official package's name for "the second answer was shown first"; and both orders'."""
