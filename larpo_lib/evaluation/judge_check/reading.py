"""Reads annotations of pairs, finds the same pair in two files, and puts the two preferences beside each other."""

import json
import re
from collections import Counter
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
        said: preferences from 1, the first answer is better, to 2, None where it could not be read: with the answers
            shown in the order that was asked first, and in the other one; the latter empty where it was not asked.
        count: annotations.
        second_first: whether the second answer was shown first in the first of the two orders, if it is known.
    """

    generators: tuple[str, str]
    longer: int
    said: tuple[list[float | None], list[float | None]] = field(default_factory=lambda: ([], []))
    count: int = 0
    second_first: bool | None = None

    @property
    def orders(self) -> tuple[float | None, float | None]:
        """The preference in each order, the mean of several; None where there is none."""
        return _mean(self.said[0]), _mean(self.said[1])

    @property
    def preference(self) -> float | None:
        """What win rates are made from: the mean of the orders that were asked; None where one could not be read."""
        means = [_mean(values) for values in self.said if values]
        return None if None in means else _mean(means)

    def add(self, orders: Sequence[float | None], second_first: bool | None, *, swapped: bool) -> None:
        """Add an annotation.

        Args:
            orders: the preference in the order that was asked first, and in the other one if it was asked.
            second_first: whether the second answer was shown first in the first of them, if it is known.
            swapped: whether the file had the answers in each other's place, which, unless it says how they were
                shown, counts as the other order: judges that draw the order draw it by the instruction alone.
        """
        known = None not in (second_first, self.second_first)
        other = second_first != self.second_first if known else swapped
        for values, value in zip(self.said[::-1] if other else self.said, orders, strict=False):
            values.append(value)
        self.count += 1

    def turned(self) -> "Annotated":
        """The same of the pair with its answers in each other's place."""
        first, second = ([_turned(value) for value in values] for values in self.said)
        shown = None if self.second_first is None else not self.second_first
        return Annotated(self.generators[::-1], -self.longer, (first, second), self.count, shown)


@dataclass(frozen=True)
class Annotations:
    """What some files say, and who says it."""

    name: str
    by_pair: Mapping[_Key, Annotated]
    with_texts: bool


def read_annotations(paths: Sequence[Path], name: str | None = None, *, one_judge: bool = False) -> Annotations:
    """Read annotations, tables of preferences, or artifacts of `alpaca_eval`.

    Args:
        paths: of one kind.
        name: of who annotated; None: what the artifacts or files say, else the files' names.
        one_judge: whether all are to be decisions of one judge, unless `name` says whose they are.

    Raises:
        DataError: a row is malformed, the files are of two kinds, or they name several judges where one is wanted.
        ArtifactError: an artifact's report cannot be read.
    """
    found: dict[_Key, Annotated] = {}
    lengths: dict[_Key, tuple[Path, int, float, float]] = {}
    said_by: dict[str, None] = {}
    files: dict[str, None] = {}
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
            if not is_annotation(row):
                _require_same_lengths(lengths, path, raw, row)
            who = _add(found, raw, row)
            if path.is_dir():
                continue
            (said_by if who else files)[who or _ENDINGS.sub("", file.name)] = None
        if path.is_dir():
            said_by[_artifact_judge(path)] = None
    if one_judge and name is None and len(said_by) > 1:
        raise DataError(
            f"has decisions of several judges: {', '.join(said_by)}",
            path=" and ".join(map(str, paths)),
            remedy="Keep those of one; or set judge_check.judged_by, if all of them are to count as one judge",
        )
    return Annotations(name or " and ".join(said_by | files), found, kinds == {True})


def _require_same_lengths(
    lengths: dict[_Key, tuple[Path, int, float, float]], path: Path, raw: Raw, row: RawRow
) -> None:
    """Refuse two rows on the same two answers that say that these have other lengths."""
    key = Pair(str(cell(raw, row, "row").number()), "", cell(raw, row, "model").text())
    own = path, row.number, cell(raw, row, "len_ref").number(), cell(raw, row, "len_model").number()
    earlier = lengths.setdefault(key, own)
    if earlier[2:] != own[2:]:
        raise DataError(
            f"has the lengths {own[2]:g} and {own[3]:g}, but row {earlier[1]} of {earlier[0]} has {earlier[2]:g} and "
            f"{earlier[3]:g} for the same answers ({key.model}, {cell(raw, row, 'row').value})",
            path=path,
            row=row.number,
            remedy="Remove one of the two rows, or give the model of one of them another name",
        )


def _add(found: dict[_Key, Annotated], raw: Raw, row: RawRow) -> str:
    """Add a row to what is said of its pair, whose answers may be in each other's place; returns who says it."""
    if not is_annotation(row):
        place, model = cell(raw, row, "row"), cell(raw, row, "model").text()
        key = Pair(str(place.number()), "", model)
        longer = cell(raw, row, "len_model").number() - cell(raw, row, "len_ref").number()
        one = found.setdefault(key, Annotated(("", model), int(longer)))
        one.add([preference(cell(raw, row, "preference"))], None, swapped=False)
        return ""
    read = annotation(raw, row)
    pair, shown = read.pair, read.second_first
    orders = [read.preference] if read.orders is None else read.orders
    swapped = pair not in found and pair.swapped in found
    if swapped:
        one, orders = found[pair.swapped], [_turned(value) for value in orders]
        shown = None if shown is None else not shown
    else:
        longer = len(pair.model) - len(pair.reference)
        one = found.setdefault(pair, Annotated(read.generators, longer, second_first=shown))
    one.add(orders, shown, swapped=swapped)
    return read.annotator


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
        judge: of the judge: the mean of the orders that it was shown.
        orders: of the judge, in the order that it was shown first, and in the other one; None: it was not shown that.
        reference: of the reference, likewise.
        reference_first: of the reference, in the order that it was shown first.
        longer: characters by which the second answer is longer.
        second_first: whether the judge was shown the second answer first, in the first order; None: not known.
    """

    group: str
    model: str | None
    judge: float
    orders: tuple[float, float | None]
    reference: float
    reference_first: float
    longer: int
    second_first: bool | None


def compared(
    reference: Mapping[_Key, Annotated], judged: Mapping[_Key, Annotated]
) -> tuple[dict[_Key, Compared], dict[str, int]]:
    """The pairs on which both have a preference; and how many there are not, by why.

    A pair that `judged` has with the answers in each other's place is the same. The answer of the common model, if
    there is one, counts as the first one everywhere.
    """
    found: dict[_Key, Compared] = {}
    counts = {"not_judged_dropped": 0, "undecided_dropped": 0}
    common = _common_model([one.generators for one in reference.values()])
    for key, there in reference.items():
        own, back = judged.get(key), judged.get(key.swapped)
        one = own if own is not None else None if back is None else back.turned()
        if one is None:
            counts["not_judged_dropped"] += 1
            continue
        given = there
        if common not in (None, there.generators[0]):
            given, one = there.turned(), one.turned()
        said, wanted = one.preference, given.preference
        first, wanted_first = one.orders[0], given.orders[0]
        if said is None or first is None or wanted is None or wanted_first is None:
            counts["undecided_dropped"] += 1
            continue
        model = None if common is None else given.generators[1] or None
        orders = first, one.orders[1]
        found[key] = Compared(
            key.instruction, model, said, orders, wanted, wanted_first, given.longer, one.second_first
        )
    return found, counts


def _common_model(generators: Sequence[tuple[str, str]]) -> str | None:
    """Whose answer is in every pair; of two such, who is more often the first. None: nobody's is."""
    shared = set.intersection(*({*names} for names in generators)) if generators else set()
    firsts = Counter(first for first, _ in generators)
    return max(shared, key=lambda name: (firsts[name], name), default=None)


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that could be read."""
    read = [value for value in values if value is not None]
    return fmean(read) if read else None


def _turned(value: float | None) -> float | None:
    return None if value is None else 3 - value
