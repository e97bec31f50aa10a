"""Raw rows to the rows of `larpo_lib.schemas`, without duplicates, and with counts of all that was dropped. No I/O."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.candidates.ranking import ranks
from larpo_lib.config.prepare import PrepareConfig
from larpo_lib.rewards.answers import Scorable
from larpo_lib.schemas import AskedRow, Messages, RankedRow, candidate_id, prompt_id
from larpo_lib.sources.columns import demonstration_reader, end_reader, prompt_reader, reference_reader
from larpo_lib.sources.lists import Scored, list_reader
from larpo_lib.sources.reading import Raw, RawRow
from larpo_lib.sources.table import Table


@dataclass(frozen=True)
class Converted:
    """What a source holds.

    Attributes:
        tables: schema -> rows in the source's order.
        counts: of what was read, changed and dropped.
        record: what each column was taken for, and what was not used.
    """

    tables: dict[str, list[dict[str, Any]]]
    counts: Metrics
    record: dict[str, Any]


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
    counts: Metrics = {**table.counts(), "duplicates_dropped": total - len(found.rows), **found.counts()}
    return Converted({"prompts": found.table(table.kept)}, counts, table.record())


def demonstrations(raw: Raw, config: PrepareConfig) -> Converted:
    """Prompts with a response to imitate as `demonstrations`; a prompt may have several, equal ones are kept once.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt or response and is not to be dropped.
    """
    table = Table(raw, config)
    kept: dict[str, dict[str, Any]] = {}
    total = 0
    read, end = demonstration_reader(table), end_reader(table, named=config.columns.finish_reason)
    for (messages, response), finish in table.read(lambda row: (read(row), end(row))):
        identity = prompt_id(messages)
        demonstration = {
            "prompt_id": identity,
            "messages": messages,
            "response": response,
            "finish_reason": finish,
            "source": raw.name,
        }
        kept.setdefault(candidate_id(identity, response), demonstration)
        total += 1
    counts: Metrics = {**table.counts(), "duplicates_dropped": total - len(kept)}
    return Converted({"demonstrations": list(kept.values())}, counts, table.record())


def answered(raw: Raw, config: PrepareConfig) -> list[Scorable]:
    """Prompts with a response, the reference where there is one, and all columns that are taken for nothing else.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt or response.
    """
    table = Table(raw, config, "all")
    read, reference = demonstration_reader(table), reference_reader(table)
    rows = table.read(lambda row: (read(row), reference(row), _kept(row, table)))
    return [
        Scorable(prompt_id(messages), messages, response, answer, columns)
        for (messages, response), answer, columns in rows
    ]


def ranked(raw: Raw, config: PrepareConfig) -> Converted:
    """Responses whose rewards are known as `ranked`, and what they answer as `prompts`.

    Rows with one prompt make one list. Of equal responses in a list the first is kept; `reward_conflicts` counts those
    whose reward differs from the kept one.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt, response or reward and is not to be dropped.
    """
    table = Table(raw, config, config.columns.keep)
    read, reference = list_reader(table), reference_reader(table)
    found = _Prompts(raw.name)
    lists: dict[str, dict[str, Scored]] = {}
    total = conflicts = 0
    for (messages, candidates), answer, values in table.read(
        lambda row: (read(row), reference(row), _kept(row, table))
    ):
        kept = lists.setdefault(found.add(messages, answer, values), {})
        for candidate in candidates:
            conflicts += kept.setdefault(candidate.response, candidate).reward != candidate.reward
        total += len(candidates)
    rows = [dict(row) for identity, kept in lists.items() for row in _ranked_rows(identity, list(kept.values()))]
    counts: Metrics = {
        **table.counts(),
        "duplicates_dropped": total - len(rows),
        **found.counts(),
        "reward_conflicts": conflicts,
    }
    return Converted({"prompts": found.table(table.kept), "ranked": rows}, counts, table.record())


@dataclass
class _Prompts:
    """Distinct prompts in order of appearance."""

    source: str
    rows: dict[str, AskedRow] = field(default_factory=dict)
    conflicts: int = 0
    column_conflicts: int = 0

    def add(self, messages: Messages, reference: str | None, columns: dict[str, Any]) -> str:
        identity = prompt_id(messages)
        row = AskedRow(prompt_id=identity, messages=messages, reference=reference, source=self.source)
        if columns:
            row["columns"] = columns
        first = self.rows.setdefault(identity, row)
        self.conflicts += first["reference"] != reference
        self.column_conflicts += first.get("columns", {}) != columns
        return identity

    def counts(self) -> dict[str, int]:
        """Rows that differ from the first one with their prompt; of columns only where any are kept."""
        kept = any(row.get("columns") for row in self.rows.values())
        return {
            "reference_conflicts": self.conflicts,
            **({"column_conflicts": self.column_conflicts} if kept else {}),
        }

    def table(self, kept: Sequence[str]) -> list[dict[str, Any]]:
        """The rows, with these columns: where the first ones were read, more may have been untaken."""
        columns = [
            {"columns": {name: row["columns"][name] for name in kept}} if kept else {} for row in self.rows.values()
        ]
        return [{**row, **also} for row, also in zip(self.rows.values(), columns, strict=True)]


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
