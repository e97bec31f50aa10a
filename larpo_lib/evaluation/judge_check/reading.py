"""Reads annotations of pairs, finds the same pair in two files, and puts the two preferences beside each other."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from larpo_lib.errors import ArtifactError, DataError
from larpo_lib.evaluation.annotations import annotation, cell, is_annotation, preference
from larpo_lib.judging.pairs import IN_BOTH_ORDERS, Pair
from larpo_lib.reporting.benchmark import REPORT
from larpo_lib.sources.reading import Raw, RawRow, read_file

ANNOTATIONS = "annotations.json"
_ENDINGS = re.compile(r"(\.(jsonl?|csv|parquet))?(\.(gz|xz|zst))?$")
_Key = Pair
"""What is annotated: an instruction with two answers; in a table of preferences its row, nothing, and the model."""


@dataclass
class Annotated:
    """All that is said of one pair.

    Attributes:
        generators: who wrote the two answers.
        longer: characters by which the second answer is longer.
        preferences: those that could be read, from 1, the first answer is better, to 2.
        count: how many there are, with those that could not be read.
        orders: preferences in the judge's own order of showing and in the other one, if both were asked.
        second_first: whether the second answer was shown first, if it is known.
    """

    generators: tuple[str, str]
    longer: int
    preferences: list[float] = field(default_factory=list)
    count: int = 0
    orders: tuple[float | None, float | None] | None = None
    second_first: bool | None = None

    @property
    def preference(self) -> float | None:
        """What it is in the judge's own order; of several, the mean."""
        if self.orders is not None:
            return self.orders[0]
        return fmean(self.preferences) if self.preferences else None

    def turned(self) -> "Annotated":
        """The same of the pair with its answers in each other's place."""
        orders = None if self.orders is None else (_turned(self.orders[0]), _turned(self.orders[1]))
        first = None if self.second_first is None else not self.second_first
        turned = [3 - value for value in self.preferences]
        return Annotated(self.generators[::-1], -self.longer, turned, self.count, orders, first)


@dataclass(frozen=True)
class Annotations:
    """What some files say, and who says it."""

    name: str
    by_pair: Mapping[_Key, Annotated]
    with_texts: bool


def read_annotations(paths: Sequence[Path], name: str | None = None) -> Annotations:
    """Read annotations, tables of preferences, or artifacts of `alpaca_eval`.

    Args:
        paths: of one kind.
        name: of who annotated; None: what the artifacts or files say, else the files' names.

    Raises:
        DataError: a row is malformed, or the files are of two kinds.
        ArtifactError: an artifact's report cannot be read.
    """
    found: dict[_Key, Annotated] = {}
    names: dict[str, None] = {}
    kinds = set()
    for path in paths:
        file = path / ANNOTATIONS if path.is_dir() else path
        raw = read_file(file, str(path))
        for row in raw.rows:
            kinds.add(is_annotation(row))
            if len(kinds) > 1:
                problem = "is of another kind than the rows before it"
                remedy = "Use either annotations with texts or tables of preferences"
                raise DataError(problem, path=path, row=row.number, remedy=remedy)
            names[_add(found, raw, row) or _ENDINGS.sub("", file.name)] = None
        if path.is_dir():
            names = {_artifact_judge(path): None}
    return Annotations(name or " and ".join(names), found, kinds == {True})


def _add(found: dict[_Key, Annotated], raw: Raw, row: RawRow) -> str:
    """Add a row to what is said of its pair; returns who says it."""
    if not is_annotation(row):
        place, model = cell(raw, row, "row"), cell(raw, row, "model").text()
        key = Pair(str(place.number()), "", model)
        longer = cell(raw, row, "len_model").number() - cell(raw, row, "len_ref").number()
        one = found.setdefault(key, Annotated(("", model), int(longer)))
        return _count(one, preference(cell(raw, row, "preference")), "")
    read = annotation(raw, row)
    one = found.setdefault(read.pair, Annotated(read.generators, len(read.pair.model) - len(read.pair.reference)))
    one.orders, one.second_first = read.orders, read.second_first
    return _count(one, read.preference, read.annotator)


def _count(one: Annotated, preferred: float | None, annotator: str) -> str:
    one.count += 1
    if preferred is not None:
        one.preferences.append(preferred)
    return annotator


def _artifact_judge(path: Path) -> str:
    try:
        return str(json.loads((path / REPORT).read_text("utf-8"))["judged_by"]).removesuffix(IN_BOTH_ORDERS)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"{path / REPORT}: cannot be read: {error}", remedy="Use an artifact of alpaca-eval"
        ) from None


@dataclass(frozen=True)
class Compared:
    """The preferences of judge and reference on one pair, from 1, the first answer is better, to 2.

    Attributes:
        group: its instruction, over which intervals are made.
        model: who wrote the second answer; None: pairs have no common first one, so that models cannot be ranked.
        judge: in the order that the judge is officially shown.
        other_order: of the judge, where it was shown the other order; None: it was not.
        reference: of the reference; of several, the mean.
        longer: characters by which the second answer is longer.
        second_first: whether the second answer was shown first; None: not known.
    """

    group: str
    model: str | None
    judge: float
    other_order: float | None
    reference: float
    longer: int
    second_first: bool | None


def compared(
    reference: Mapping[_Key, Annotated], judged: Mapping[_Key, Annotated]
) -> tuple[dict[_Key, Compared], dict[str, int]]:
    """The pairs on which both have a preference; and how many there are not, by why.

    A pair that `judged` has in the other order is the same; one that it has in both was shown in both.
    """
    found: dict[_Key, Compared] = {}
    counts = {"not_judged_dropped": 0, "undecided_dropped": 0}
    firsts = {one.generators[0] for one in reference.values()}
    for key, given in reference.items():
        own, back = judged.get(key), judged.get(key.swapped)
        one = own if own is not None else None if back is None else back.turned()
        if one is None:
            counts["not_judged_dropped"] += 1
            continue
        said, wanted = one.preference, given.preference
        if said is None or wanted is None:
            counts["undecided_dropped"] += 1
            continue
        other = one.orders[1] if one.orders is not None else None
        if other is None and own is not None and back is not None and key != key.swapped:
            other = back.turned().preference
        model = given.generators[1] if len(firsts) == 1 and given.generators[1] else None
        found[key] = Compared(key.instruction, model, said, other, wanted, given.longer, one.second_first)
    return found, counts


def _turned(value: float | None) -> float | None:
    return None if value is None else 3 - value
