"""The reward model reranks the candidates."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.candidates.ranking import by_prompt, ranks
from larpo_lib.config import RerankConfig
from larpo_lib.errors import DataError, LarpoError
from larpo_lib.metadata import Asked
from larpo_lib.rewards.length import penalise_length
from larpo_lib.rewards.references import require_references
from larpo_lib.rewards.rerankers import Reranker, Scorable, foresee, make_reranker, scored_text
from larpo_lib.schemas import SCHEMAS, AskedRow, CandidateRow
from larpo_lib.shards import UNSHARDED, PartFn, PartResult, Shard, map_in_parts
from larpo_lib.statistics.ranking import spearman
from larpo_lib.tables import Counts, PromptTable, Row, rewards_and_lengths
from larpo_lib.thinking import thought_counts

_ANY_REASON = {"candidates", "ranked", "responses", "too_long_to_score_dropped", "responses_with_thoughts"}
"""Counts that do not tell why a response has no reward."""


def run(
    config: RerankConfig, *, prompts: Path, candidates: Sequence[Path], ranked: Path, shard: Shard = UNSHARDED
) -> Metrics:
    """Score and rank candidates and publish them as `ranked`, prompts by rising prompt_id.

    Args:
        config: the reranker.
        prompts: artifact with `prompts.parquet`: what the candidates answer.
        candidates: artifacts with `candidates.parquet`, or with `ranked.parquet` to rank anew, one an iteration,
            current last. A prompt's candidates in all of them are ranked as one list; a list-relative reranker is to be
            given every iteration that memory keeps.
        ranked: artifact to publish, with `ranked.parquet`.
        shard: this machine's part of the prompts that have candidates; `merge_shards` puts the shards together.

    Raises:
        DataError: a prompt is not known.
        LarpoError: no candidates are given, or none could be scored.
    """
    if not candidates:
        raise LarpoError("rerank: no candidates", remedy="Pass at least one artifact of candidates")
    inputs = {"prompts": prompts, **{f"candidates_{i}": path for i, path in enumerate(candidates)}}
    inputs |= config.reranker.models()
    make = partial(_rerank, config, prompts, candidates, shard)
    return produce("rerank", config, inputs, ranked, make, arguments=shard.argument())


def _rerank(config: RerankConfig, prompts: Path, candidates: Sequence[Path], shard: Shard, work: WorkDir) -> Metrics:
    output = work.data / "ranked.parquet"
    answered = shard.of(_answered(prompts, candidates))
    require_references(prompts, config.reranker, among=set(answered))
    foresee(config.reranker, "rerank", ToScore(prompts, [_candidates(path) for path in candidates], answered))
    counts = map_in_parts(
        "rerank",
        answered,
        config,
        partial(reranking, config, prompts, candidates),
        schema="ranked",
        scratch=work.scratch,
        output=output,
    )
    return summarize(output, counts, shard, candidates[-1], scored_text(config.reranker))


def _candidates(path: Path) -> PromptTable:
    """An artifact's candidates, also those that another reranker has ranked; without its rewards then."""
    if (path / "ranked.parquet").is_file() and not (path / "candidates.parquet").is_file():
        return PromptTable(path, "ranked", SCHEMAS["candidates"].names)
    return PromptTable(path, "candidates")


def _answered(prompts: Path, candidates: Sequence[Path]) -> list[str]:
    """The prompts that have candidates, by rising prompt_id."""
    known = PromptTable(prompts, "prompts")
    found: set[str] = set()
    for path in candidates:
        table = _candidates(path)
        for prompt_id in table:
            if prompt_id not in known:
                raise DataError(
                    f"prompt {prompt_id} is not in the prompts",
                    path=path,
                    row=table.row_numbers(prompt_id)[0],
                    field="prompt_id",
                    remedy="Pass the prompts artifact from which the candidates were sampled",
                )
        found.update(table)
    return sorted(found)


@contextmanager
def reranking(config: RerankConfig, prompts: Path, candidates: Sequence[Path]) -> Iterator[PartFn]:
    """What makes the rows of `ranked` for some prompts, and counts what became of their candidates."""
    reranker = penalise_length(make_reranker(config.reranker), config.length_penalty, scored_text(config.reranker))
    known = Asked(prompts)
    tables = [_candidates(path) for path in candidates]

    def make(prompt_ids: Sequence[str]) -> PartResult:
        asked = known.of(prompt_ids)
        rows: Any = [row for prompt_id in prompt_ids for table in tables for row in table.get(prompt_id, ())]
        scored = ranked_rows(score_rows(reranker, asked, rows))
        return scored, {
            "candidates": len(rows),
            "ranked": len(scored),
            "too_long_to_score_dropped": len(rows) - len(scored),
            **thought_counts(row["response"] for row in rows),
            **reranker.cut(scorables(asked, rows)),
        }

    yield make


def summarize(ranked: Path, counts: Counts, shard: Shard, source: Path, scored: Callable[[str], str]) -> Metrics:
    """The metrics of `ranked`, which do not tell in how many shards it was made.

    Args:
        ranked: the table.
        counts: of what became of candidates.
        shard: whose candidates they are. Only one of several may have none.
        source: what was ranked, for messages.
        scored: from a response to what its reward is of, whose length counts.

    Raises:
        LarpoError: no candidate could be scored.
    """
    rewards, lengths = rewards_and_lengths(ranked, scored)
    if len(rewards):
        return {
            **counts,
            "mean_reward": float(np.mean(rewards)),
            "reward_std": float(np.std(rewards)),
            "reward_length_correlation": spearman(rewards, lengths),
        }
    if shard == UNSHARDED:
        raise nothing_scored(f"{source}: no candidate could be scored", counts)
    return {**counts, "mean_reward": None, "reward_std": None, "reward_length_correlation": None}


def nothing_scored(problem: str, counts: Counts) -> LarpoError:
    """What is told where no response has a reward: why, so far as the reranker counts it."""
    told = [f"{name} = {count}" for name, count in counts.items() if count and name not in _ANY_REASON]
    remedy = "Increase the reranker's max_tokens, if responses are too long for it; else see why it gives them no score"
    return LarpoError(f"{problem} ({', '.join(told)})" if told else problem, remedy=remedy)


def ranked_rows(scored: Sequence[Any]) -> list[Row]:
    """Scored rows with their rank among those of their prompt, prompts by rising prompt_id."""
    return [
        {**row, "rank": rank}
        for group in by_prompt(scored).values()
        for row, rank in zip(group, ranks([row["reward"] for row in group]), strict=True)
    ]


def scorables(prompts: Mapping[str, AskedRow], rows: Sequence[CandidateRow]) -> list[Scorable]:
    """Candidates with what they answer."""
    asked = [prompts[row["prompt_id"]] for row in rows]
    return [
        Scorable(row["prompt_id"], prompt["messages"], row["response"], prompt["reference"], prompt.get("columns", {}))
        for prompt, row in zip(asked, rows, strict=True)
    ]


class ToScore:
    """The responses to each prompt, as a step will have them scored. They are read each time they are gone through.

    Args:
        prompts: artifact with `prompts.parquet`.
        tables: of candidates; those of a prompt in all of them are a list.
        prompt_ids: prompts whose responses will be scored; None: all of the first table's.
    """

    def __init__(self, prompts: Path, tables: Sequence[PromptTable], prompt_ids: Sequence[str] | None = None) -> None:
        self._prompts, self._tables = prompts, tables
        self._prompt_ids = [*tables[0]] if prompt_ids is None else prompt_ids

    def __iter__(self) -> Iterator[list[Scorable]]:
        known = Asked(self._prompts)
        for prompt_id in self._prompt_ids:
            rows: Any = [row for table in self._tables for row in table.get(prompt_id, ())]
            yield scorables(known.of([prompt_id]), rows)


def score_rows(reranker: Reranker, prompts: Mapping[str, AskedRow], rows: Sequence[CandidateRow]) -> list[Any]:
    """Add `reranker` and `reward` to candidates, and leave out those that cannot be scored.

    Raises:
        LarpoError: a reward is not a finite number.
    """
    scored = []
    for row, reward in zip(rows, reranker.score(scorables(prompts, rows)), strict=True):
        if reward is None:
            continue
        if not math.isfinite(reward):
            raise LarpoError(
                f"{reranker.name} scored candidate {row['candidate_id']} of prompt {row['prompt_id']} as {reward}",
                remedy="Load the reward model in float32, or check its weights",
            )
        scored.append({**row, "reranker": reranker.name, "list_relative": reranker.list_relative, "reward": reward})
    return scored
