"""The published files of AlpacaEval: models' outputs, preferences, gamed rows and difficulties of instructions."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation.alpaca_eval.scoring import SIZE, Comparison, Gamed, LengthControl, row_of
from larpo_lib.evaluation.annotations import Annotation, annotation, answer_text, cell, is_annotation, preference
from larpo_lib.sources.cells import Cell
from larpo_lib.sources.reading import Raw, RawRow, read_file

PREFERENCES = ("model", "row", "preference", "len_ref", "len_model")
"""Columns of a file of preferences."""

_HUB = "https://huggingface.co/datasets/tatsu-lab/alpaca_eval"
_SOURCES = {
    "reference": f"{_HUB} has it as alpaca_eval_gpt4_baseline.json",
    "gamed": f"{_HUB} has it as df_gamed.csv",
    "difficulty": f"{_HUB} has it as instruction_difficulty.csv",
}
_GAMED = ("preference", "index", "std_delta_len", "instruction_difficulty")
_AGREE = 1e-6


@dataclass(frozen=True)
class Outputs:
    """The answers of one model.

    Attributes:
        generator: the model's name; the file's where it has none.
        by_instruction: answers, in the file's order.
        datasets: where instructions come from, by instruction, as far as the file says.
    """

    generator: str
    by_instruction: Mapping[str, str]
    datasets: Mapping[str, str]


def read_outputs(path: Path, *, kind: str | None = None) -> Outputs:
    """Answers in the published format: a JSON array (or JSONL) of `instruction`, `output` and `generator`.

    Args:
        path: the file, plain or compressed.
        kind: "reference", whose error says where to get it.

    Raises:
        DataError: the file is missing or malformed, an instruction stands twice, or there are several generators.
    """
    raw = _read(path, kind)
    answers: dict[str, str] = {}
    datasets: dict[str, str] = {}
    generators: dict[str, RawRow] = {}
    for row in raw.rows:
        instruction = cell(raw, row, "instruction").text()
        output = answer_text(cell(raw, row, "output"))
        if instruction in answers:
            raise cell(raw, row, "instruction").error("appears in an earlier row too")
        answers[instruction] = output
        if isinstance(dataset := row.values.get("dataset"), str):
            datasets[instruction] = dataset
        if row.values.get("generator") is not None:
            generators.setdefault(cell(raw, row, "generator").text(), row)
    if len(generators) > 1:
        raise cell(raw, [*generators.values()][1], "generator").error("differs from the value in earlier rows")
    return Outputs(next(iter(generators), Path(path.name).stem.partition(".")[0]), answers, datasets)


def write_outputs(path: Path, generator: str, by_instruction: Mapping[str, str]) -> None:
    """Write answers in the published format."""
    rows = [
        {"instruction": instruction, "output": output, "generator": generator}
        for instruction, output in by_instruction.items()
    ]
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_length_control(gamed: Path | None, difficulty: Path | None) -> LengthControl | None:
    """What the length-controlled win rate is fitted with.

    Args:
        gamed: df_gamed.csv, with preference, index, std_delta_len and instruction_difficulty. None: nothing.
        difficulty: instruction_difficulty.csv, with index and instruction_difficulty. None: what `gamed` says of it, as
            the official client takes it.

    Raises:
        DataError: a file is missing or malformed, not of all 805 instructions, or the two disagree.
        ConfigError: only `difficulty` is given.
    """
    if gamed is None:
        if difficulty is not None:
            raise ConfigError(
                "a length-controlled win rate needs gamed in addition to the difficulties",
                remedy=f"Pass --gamed; {_SOURCES['gamed']}",
            )
        return None
    raw = _read(gamed, "gamed")
    columns = {name: np.array([cell(raw, row, name).number() for row in raw.rows]) for name in _GAMED}
    rows = _places(raw, raw.rows)
    own = {place: float(value) for place, value in zip(rows, columns["instruction_difficulty"], strict=True)}
    _require_all(own, gamed)
    for place, value, row in zip(rows, columns["instruction_difficulty"], raw.rows, strict=True):
        if abs(own[place] - value) > _AGREE:
            raise cell(raw, row, "instruction_difficulty").error(
                "differs from the value in another row with the same index"
            )
    found = own if difficulty is None else _read_difficulty(difficulty, own)
    return LengthControl(
        Gamed(columns["preference"], columns["std_delta_len"], columns["instruction_difficulty"]), found
    )


def read_preferences(path: Path) -> dict[str, list[Comparison]]:
    """Comparisons by model, from a table with the columns of `PREFERENCES`, or from annotations in the official format.

    `row` is the instruction's place in AlpacaEval, from 0, or empty where it is none of AlpacaEval's; `preference` is
    empty or nan where it could not be read, 0 (a draw), or from 1 to 2; the lengths are in characters. Annotations are
    JSON rows of instruction, output_1 (the reference's), output_2, generator_2 and preference.

    Raises:
        DataError: the file is missing or malformed, or a model has a row twice.
    """
    raw = _read(path, None)
    found: defaultdict[str, list[Comparison]] = defaultdict(list)
    seen: set[tuple[str, int]] = set()
    for row in raw.rows:
        annotated = is_annotation(row)
        model = cell(raw, row, "generator_2" if annotated else "model").text()
        comparison = _annotated(annotation(raw, row)) if annotated else _comparison(raw, row)
        found[model].append(comparison)
        if comparison.row is not None:
            if (model, comparison.row) in seen:
                raise cell(raw, row, "row").error("appears twice for this model")
            seen.add((model, comparison.row))
    return dict(found)


def write_preferences(path: Path, model: str, comparisons: Iterable[Comparison]) -> None:
    """Write the comparisons of one model so that `read_preferences` reads the very same."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PREFERENCES)
        writer.writerows([model, c.row, c.preference, c.len_ref, c.len_model] for c in comparisons)


def require_whole(comparisons: int, what: str, *, partial: bool) -> None:
    """Refuse fewer (or more) than AlpacaEval's instructions where they are to be scored as the benchmark.

    Raises:
        ConfigError: there are not 805, and `partial` does not say that this is meant.
    """
    if comparisons != SIZE and not partial:
        raise ConfigError(
            f"{what}: {comparisons} instructions, but AlpacaEval has {SIZE}",
            remedy="Use all of them, or allow a part with partial, whose score is not comparable with published ones",
        )


def _comparison(raw: Raw, row: RawRow) -> Comparison:
    place = cell(raw, row, "row")
    return Comparison(
        row=None if place.value is None else _place(place),
        preference=preference(cell(raw, row, "preference")),
        len_ref=_whole(cell(raw, row, "len_ref")),
        len_model=_whole(cell(raw, row, "len_model")),
    )


def _annotated(found: Annotation) -> Comparison:
    pair = found.pair
    return Comparison(row_of(pair.instruction), found.preference, len(pair.reference), len(pair.model))


def _read_difficulty(path: Path, gamed: Mapping[int, float]) -> Mapping[int, float]:
    raw = _read(path, "difficulty")
    found: dict[int, float] = {}
    for row, place in zip(raw.rows, _places(raw, raw.rows), strict=True):
        told = cell(raw, row, "instruction_difficulty")
        if place in found:
            raise cell(raw, row, "index").error("appears twice")
        found[place] = told.number()
        if abs(found[place] - gamed[place]) > _AGREE:
            raise told.error(f"is {found[place]:g}, but the gamed rows have {gamed[place]:g}")
    _require_all(found, path)
    return found


def _require_all(places: Mapping[int, float], path: Path) -> None:
    if len(places) != SIZE:
        raise DataError(f"has {len(places)} of the {SIZE} instructions", path=path, field="index")


def _places(raw: Raw, rows: Iterable[RawRow]) -> list[int]:
    return [_place(cell(raw, row, "index")) for row in rows]


def _place(cell: Cell) -> int:
    place = _whole(cell)
    if place >= SIZE:
        raise cell.error(f"is {place}; AlpacaEval's instructions are 0 to {SIZE - 1}")
    return place


def _whole(cell: Cell) -> int:
    number = cell.number()
    if number < 0 or number != int(number):
        raise cell.error(f"is {cell.value}, not a whole number of at least 0")
    return int(number)


def _read(path: Path, kind: str | None) -> Raw:
    if kind is not None and not path.is_file():
        raise DataError("no such file", path=path, remedy=f"Check the path; {_SOURCES[kind]}")
    return read_file(path, str(path))
