"""Raw rows to the rows of `larpo_lib.schemas`, without duplicates, and with counts of all that was dropped. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.candidates.ranking import ranks
from larpo_lib.config.sections import ColumnsConfig
from larpo_lib.schemas import STOP, Messages, PromptRow, RankedRow, candidate_id, prompt_id
from larpo_lib.sources.columns import Scored, demonstration_reader, list_reader, prompt_reader, reference_reader
from larpo_lib.sources.reading import Raw


@dataclass(frozen=True)
class Converted:
    """What a source holds: schema -> rows in the source's order, and the counts of what was read and dropped."""

    tables: dict[str, list[dict[str, Any]]]
    counts: Metrics


def prompts(raw: Raw, columns: ColumnsConfig) -> Converted:
    """Distinct prompts as `prompts`, with the reference answer where there is one.

    Of several rows with one prompt the first is kept; `reference_conflicts` counts those whose reference differs from
    the kept one.

    Raises:
        DataError: there is no column for the prompt, or a row holds no usable one.
    """
    prompt, reference = prompt_reader(raw, columns), reference_reader(raw, columns)
    found = _Prompts(raw.name)
    for row in raw.rows:
        found.add(prompt(row), reference(row))
    counts: Metrics = {
        "rows_read": len(raw.rows),
        "duplicates_dropped": len(raw.rows) - len(found.rows),
        "reference_conflicts": found.conflicts,
    }
    return Converted({"prompts": found.table()}, counts)


def demonstrations(raw: Raw, columns: ColumnsConfig) -> Converted:
    """Prompts with a response to imitate as `demonstrations`; a prompt may have several, equal ones are kept once.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt or response.
    """
    read = demonstration_reader(raw, columns)
    kept: dict[str, dict[str, Any]] = {}
    for row in raw.rows:
        messages, response = read(row)
        identity = prompt_id(messages)
        demonstration = {"prompt_id": identity, "messages": messages, "response": response, "source": raw.name}
        kept.setdefault(candidate_id(identity, response), demonstration)
    counts: Metrics = {
        "rows_read": len(raw.rows),
        "duplicates_dropped": len(raw.rows) - len(kept),
    }
    return Converted({"demonstrations": list(kept.values())}, counts)


def ranked(raw: Raw, columns: ColumnsConfig) -> Converted:
    """Responses whose rewards are known as `ranked`, and what they answer as `prompts`.

    Rows with one prompt make one list. Of equal responses in a list the first is kept; `reward_conflicts` counts those
    whose reward differs from the kept one.

    Raises:
        DataError: a column is missing, or a row holds no usable prompt, response or reward.
    """
    read, reference = list_reader(raw, columns), reference_reader(raw, columns)
    found = _Prompts(raw.name)
    lists: dict[str, dict[str, Scored]] = {}
    total = conflicts = 0
    for row in raw.rows:
        messages, candidates = read(row)
        kept = lists.setdefault(found.add(messages, reference(row)), {})
        for candidate in candidates:
            conflicts += kept.setdefault(candidate.response, candidate).reward != candidate.reward
        total += len(candidates)
    rows = [dict(row) for identity, kept in lists.items() for row in _ranked_rows(identity, list(kept.values()))]
    counts: Metrics = {
        "rows_read": len(raw.rows),
        "duplicates_dropped": total - len(rows),
        "reference_conflicts": found.conflicts,
        "reward_conflicts": conflicts,
    }
    return Converted({"prompts": found.table(), "ranked": rows}, counts)


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
            token_ids=None,
            num_tokens=None,
            finish_reason=STOP,
            policy=candidate.policy,
            reranker="source",
            list_relative=False,
            reward=candidate.reward,
            rank=rank,
        )
