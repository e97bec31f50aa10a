"""Raw rows to the rows of `larpo_lib.schemas`, without duplicates, and with counts of all that was dropped. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.candidates.ranking import ranks
from larpo_lib.config.prepare import PrepareConfig
from larpo_lib.schemas import Messages, PromptRow, RankedRow, candidate_id, prompt_id
from larpo_lib.sources.columns import demonstration_reader, end_reader, prompt_reader, reference_reader
from larpo_lib.sources.lists import Scored, list_reader
from larpo_lib.sources.reading import Raw
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
    the kept one.

    Raises:
        DataError: there is no column for the prompt, or a row holds no usable one and is not to be dropped.
    """
    table = Table(raw, config)
    prompt, reference = prompt_reader(table), reference_reader(table)
    found = _Prompts(raw.name)
    total = 0
    for messages, answer in table.read(lambda row: (prompt(row), reference(row))):
        found.add(messages, answer)
        total += 1
    counts: Metrics = {
        **table.counts(),
        "duplicates_dropped": total - len(found.rows),
        "reference_conflicts": found.conflicts,
    }
    return Converted({"prompts": found.table()}, counts, table.record())


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


def ranked(raw: Raw, config: PrepareConfig) -> Converted:
    """Responses whose rewards are known as `ranked`, and what they answer as `prompts`.

    Rows with one prompt make one list. Of equal responses in a list the first is kept; `reward_conflicts` counts those
    whose reward differs from the kept one.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt, response or reward and is not to be dropped.
    """
    table = Table(raw, config)
    read, reference = list_reader(table), reference_reader(table)
    found = _Prompts(raw.name)
    lists: dict[str, dict[str, Scored]] = {}
    total = conflicts = 0
    for (messages, candidates), answer in table.read(lambda row: (read(row), reference(row))):
        kept = lists.setdefault(found.add(messages, answer), {})
        for candidate in candidates:
            conflicts += kept.setdefault(candidate.response, candidate).reward != candidate.reward
        total += len(candidates)
    rows = [dict(row) for identity, kept in lists.items() for row in _ranked_rows(identity, list(kept.values()))]
    counts: Metrics = {
        **table.counts(),
        "duplicates_dropped": total - len(rows),
        "reference_conflicts": found.conflicts,
        "reward_conflicts": conflicts,
    }
    return Converted({"prompts": found.table(), "ranked": rows}, counts, table.record())


@dataclass
class _Prompts:
    """Distinct prompts in order of appearance."""

    source: str
    rows: dict[str, PromptRow] = field(default_factory=dict)
    conflicts: int = 0

    def add(self, messages: Messages, reference: str | None) -> str:
        identity = prompt_id(messages)
        row = PromptRow(prompt_id=identity, messages=messages, reference=reference, source=self.source)
        self.conflicts += self.rows.setdefault(identity, row)["reference"] != reference
        return identity

    def table(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.rows.values()]


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
