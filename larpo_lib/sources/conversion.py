"""Raw rows to the rows of `larpo_lib.schemas`, without duplicates, and with counts of all that was dropped.

Rows are read one after another. Of large sources the converted rows are on disk, for a table is written in the order of
the prompts' identities.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from larpo_lib.artifacts import Metrics
from larpo_lib.candidates.ranking import ranks
from larpo_lib.config.prepare import PrepareConfig
from larpo_lib.rewards.answers import Scorable
from larpo_lib.row_groups import RowsOnDisk
from larpo_lib.schemas import SCHEMAS, Messages, RankedRow, candidate_id, prompt_id
from larpo_lib.sources.columns import demonstration_reader, end_reader, prompt_reader, reference_reader
from larpo_lib.sources.lists import list_reader
from larpo_lib.sources.merging import Merge, Merged, Scored
from larpo_lib.sources.reading import Raw, RawRow
from larpo_lib.sources.table import Table
from larpo_lib.tables import Row


@dataclass(frozen=True)
class Rows:
    """Some rows of a source, which are read whenever they are gone through.

    Attributes:
        keys: identities, in the order of the rows; of prompts and ranked responses the prompts', of demonstrations
            their own.
        read: the rows with an identity.
        size: how many these are.
    """

    keys: Sequence[str]
    read: Callable[[str], Sequence[Row]]
    size: Callable[[str], int] = lambda _: 1

    def __iter__(self) -> Iterator[Row]:
        return (row for key in self.keys for row in self.read(key))

    def __len__(self) -> int:
        return sum(map(self.size, self.keys))

    def only(self, keys: Sequence[str]) -> Self:
        """Those with these identities, in their order."""
        return replace(self, keys=keys)


@dataclass(frozen=True)
class Converted:
    """What a source holds.

    Attributes:
        tables: schema -> rows in the source's order.
        counts: of what was read, changed and dropped.
        record: what each column was taken for, and what was not used.
        columns: struct type of the columns that are kept with the prompts.
    """

    tables: dict[str, Rows]
    counts: Metrics
    record: dict[str, Any]
    columns: pa.DataType = field(default_factory=lambda: pa.struct([]))


def prompts(raw: Raw, config: PrepareConfig) -> Converted:
    """Distinct prompts as `prompts`, with the reference answer where there is one.

    Of several rows with one prompt the first is kept; `reference_conflicts` counts those whose reference differs from
    the kept one, `column_conflicts` the same of columns that are kept.

    Raises:
        DataError: there is no column for the prompt, or a row holds no usable one and is not to be dropped.
    """
    table = Table(raw, config, config.columns.keep)
    prompt, reference = prompt_reader(table), reference_reader(table)
    found = _Prompts(raw.name)
    total = 0
    for messages, answer, values in table.read(lambda row: (prompt(row), reference(row), _kept(row, table))):
        found.add(messages, answer, values)
        total += 1
    rows = found.rows(table.kept)
    counts: Metrics = {**table.counts(), "duplicates_dropped": total - len(rows), **found.counts()}
    return Converted({"prompts": rows}, counts, table.record())


def demonstrations(raw: Raw, config: PrepareConfig) -> Converted:
    """Prompts with a response to imitate as `demonstrations`; a prompt may have several, equal ones are kept once.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt or response and is not to be dropped.
    """
    table = Table(raw, config)
    kept = RowsOnDisk(SCHEMAS["demonstrations"])
    numbers: dict[str, int] = {}
    total = 0
    read, end = demonstration_reader(table), end_reader(table, named=config.columns.finish_reason)
    for (messages, response), finish in table.read(lambda row: (read(row), end(row))):
        total += 1
        identity = prompt_id(messages)
        key = candidate_id(identity, response)
        if key in numbers:
            continue
        numbers[key] = len(kept)
        kept.append(
            {
                "prompt_id": identity,
                "messages": messages,
                "response": response,
                "finish_reason": finish,
                "source": raw.name,
            }
        )
    counts: Metrics = {**table.counts(), "duplicates_dropped": total - len(kept)}
    return Converted({"demonstrations": Rows([*numbers], lambda key: [kept.at(numbers[key])])}, counts, table.record())


def answered(raw: Raw, config: PrepareConfig) -> list[Scorable]:
    """Prompts with a response, the reference where there is one, and the columns that are kept.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt or response.
    """
    table = Table(raw, config, config.columns.keep)
    read, reference = demonstration_reader(table), reference_reader(table)
    rows = table.read(lambda row: (read(row), reference(row), _kept(row, table)))
    return [
        Scorable(prompt_id(messages), messages, response, answer, columns)
        for (messages, response), answer, columns in rows
    ]


def ranked(raw: Raw, config: PrepareConfig) -> Converted:
    """Responses whose rewards are known as `ranked`, and what they answer as `prompts`.

    Rows with one prompt make one list. Of equal responses in a list the first is kept. How their rewards come together,
    and which counts tell of it, is said in `larpo_lib.sources.merging`.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt, response or reward and is not to be dropped.
    """
    table = Table(raw, config, config.columns.keep)
    (read, merge), reference = list_reader(table), reference_reader(table)
    found, lists = _Prompts(raw.name), _Lists(merge)
    total = 0
    for (messages, candidates), answer, values in table.read(
        lambda row: (read(row), reference(row), _kept(row, table))
    ):
        lists.add(found.add(messages, answer, values), candidates)
        total += len(candidates)
    asked = found.rows(table.kept)
    rows, merged = lists.rows(found.numbers)
    left_out = merged.get("incomparable_responses_dropped", 0)
    counts: Metrics = {
        **table.counts(),
        "duplicates_dropped": total - len(rows) - left_out,
        **found.counts(),
        **merged,
    }
    return Converted({"prompts": asked, "ranked": rows}, counts, table.record())


_NO_COLUMNS: dict[str, Any] = {}


class _Prompts:
    """Distinct prompts in order of appearance; of several rows with one prompt the first counts.

    Args:
        source: name of where they come from.

    Attributes:
        numbers: identity -> place.
    """

    def __init__(self, source: str) -> None:
        self.numbers: dict[str, int] = {}
        self._source = source
        self._rows = RowsOnDisk(pa.schema([SCHEMAS["prompts"].field(name) for name in ("messages", "reference")]))
        self._references = array("q")
        self._columns: list[dict[str, Any]] = []
        self._conflicts = self._column_conflicts = 0

    def add(self, messages: Messages, reference: str | None, columns: dict[str, Any]) -> int:
        """Add a prompt unless it is there; gives its place."""
        number = self.numbers.setdefault(prompt_id(messages), len(self._rows))
        if number == len(self._rows):
            self._rows.append({"messages": messages, "reference": reference})
            self._references.append(hash(reference))
            self._columns.append(columns or _NO_COLUMNS)
        self._conflicts += self._references[number] != hash(reference)
        self._column_conflicts += self._columns[number] != columns
        return number

    def counts(self) -> dict[str, int]:
        """Rows that differ from the first one with their prompt; of columns only where any are kept."""
        return {
            "reference_conflicts": self._conflicts,
            **({"column_conflicts": self._column_conflicts} if any(self._columns) else {}),
        }

    def rows(self, kept: Sequence[str]) -> Rows:
        """The rows, with these columns: where the first ones were read, more may have been untaken."""

        def read(identity: str) -> list[Row]:
            number = self.numbers[identity]
            row = {"prompt_id": identity, **self._rows.at(number), "source": self._source}
            if kept:
                row["columns"] = {name: self._columns[number][name] for name in kept}
            return [row]

        return Rows([*self.numbers], read)


class _Lists:
    """Responses with their rewards, as they come; those to one prompt may stand in several places.

    Args:
        merge: makes one list of those to one prompt.
    """

    def __init__(self, merge: Merge) -> None:
        self._merge = merge
        self._rows = RowsOnDisk(pa.schema([SCHEMAS["ranked"].field(name) for name in Scored._fields]))
        self._prompts, self._starts = array("q"), array("q")

    def add(self, prompt: int, candidates: Sequence[Scored]) -> None:
        """Add some responses to the prompt with a number."""
        self._prompts.append(prompt)
        self._starts.append(len(self._rows))
        for candidate in candidates:
            self._rows.append(candidate._asdict())

    def rows(self, prompts: Mapping[str, int]) -> tuple[Rows, dict[str, int]]:
        """The rows of each prompt, without repetitions; and what was counted while they were merged."""
        of, stops = np.array(self._prompts), np.array([*self._starts[1:], len(self._rows)])
        runs = np.argsort(of, kind="stable")
        first = np.searchsorted(of[runs], np.arange(len(prompts) + 1))

        def merged(number: int) -> Merged:
            of_prompt = runs[first[number] : first[number + 1]].tolist()
            found = [self._rows.rows(self._starts[run], int(stops[run])) for run in of_prompt]
            return self._merge([[Scored(**row) for row in rows] for rows in found])

        sizes, counts = array("q"), Counter[str]()
        for number in range(len(prompts)):
            one = merged(number)
            counts.update(one.counts)
            sizes.append(len(one.candidates))

        def read(identity: str) -> list[Row]:
            return [dict(row) for row in _ranked_rows(identity, merged(prompts[identity]).candidates)]

        return Rows([*prompts], read, lambda identity: sizes[prompts[identity]]), dict(counts)


def _kept(row: RawRow, table: Table) -> dict[str, Any]:
    return {name: row.values.get(name) for name in table.kept}


def _ranked_rows(identity: str, candidates: Sequence[Scored]) -> Iterator[RankedRow]:
    places = ranks([candidate.reward for candidate in candidates])
    for index, (candidate, rank) in enumerate(zip(candidates, places, strict=True)):
        yield RankedRow(
            prompt_id=identity,
            candidate_id=candidate_id(identity, candidate.response),
            iteration=0,
            sample_index=index,
            temperature=None,
            response=candidate.response,
            token_ids=candidate.token_ids,
            num_tokens=None if candidate.token_ids is None else len(candidate.token_ids),
            finish_reason=candidate.finish_reason,
            policy=candidate.policy,
            reranker="source",
            list_relative=False,
            reward=candidate.reward,
            rank=rank,
        )
