"""The reward model reranks the candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from larpo_lib.artifacts import Metrics, Work, produce
from larpo_lib.candidates.ranking import by_prompt, ranks
from larpo_lib.config import ClassifierConfig, RerankConfig
from larpo_lib.errors import DataError, LarpoError
from larpo_lib.rerankers import Reranker, Scorable, make_reranker
from larpo_lib.schemas import CandidateRow, PromptRow
from larpo_lib.shards import in_shards
from larpo_lib.tables import Row, read_table


def run(config: RerankConfig, *, prompts: Path, candidates: Path, ranked: Path) -> Metrics:
    """Score and rank candidates and publish them as `ranked`.

    Args:
        config: the reranker.
        prompts: artifact with `prompts.parquet`: what the candidates answer.
        candidates: artifact with `candidates.parquet`.
        ranked: artifact to publish, with `ranked.parquet`.
    """

    def make(work: Work) -> Metrics:
        return _rerank(config, prompts, candidates, work)

    inputs = {"prompts": prompts, "candidates": candidates}
    if isinstance(config.reranker, ClassifierConfig):
        inputs["reranker"] = Path(config.reranker.path)
    return produce("rerank", config, inputs, ranked, make)


def _rerank(config: RerankConfig, prompts: Path, candidates: Path, work: Work) -> Metrics:
    known = {row["prompt_id"]: row for row in cast(list[PromptRow], read_table(prompts, "prompts"))}
    rows = cast(list[CandidateRow], read_table(candidates, "candidates"))
    for i, row in enumerate(rows):
        if row["prompt_id"] not in known:
            raise DataError(
                f"prompt {row['prompt_id']} is not among the prompts",
                path=candidates,
                row=i,
                field="prompt_id",
                remedy="Give the prompts artifact the candidates were sampled from",
            )
    reranker = make_reranker(config.reranker)

    def make_shard(shard: Sequence[list[CandidateRow]]) -> list[Row]:
        flat = [row for group in shard for row in group]
        scored = score_rows(reranker, known, flat)
        return [
            {**row, "rank": rank}
            for group in by_prompt(scored).values()
            for row, rank in zip(group, ranks([row["reward"] for row in group]), strict=True)
        ]

    output = work.data / "ranked.parquet"
    in_shards(
        "rerank",
        list(by_prompt(rows).values()),
        config.shard_prompts,
        make_shard,
        schema="ranked",
        scratch=work.scratch,
        output=output,
    )
    rewards = [row["reward"] for row in read_table(output, "ranked", ["reward"])]
    if not rewards:
        raise LarpoError(f"{candidates}: no candidate could be scored", remedy="Raise the reranker's max_tokens")
    mean = sum(rewards) / len(rewards)
    return {
        "candidates": len(rows),
        "ranked": len(rewards),
        "too_long_to_score_dropped": len(rows) - len(rewards),
        "mean_reward": mean,
        "reward_std": math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / len(rewards)),
    }


def score_rows(reranker: Reranker, prompts: Mapping[str, PromptRow], rows: Sequence[CandidateRow]) -> list[Any]:
    """Add `reranker` and `reward` to candidates, and leave out those that cannot be scored.

    Raises:
        LarpoError: a reward is not a finite number.
    """
    items = [
        Scorable(
            row["prompt_id"],
            prompts[row["prompt_id"]]["messages"],
            row["response"],
            prompts[row["prompt_id"]]["reference"],
        )
        for row in rows
    ]
    scored = []
    for row, reward in zip(rows, reranker.score(items), strict=True):
        if reward is None:
            continue
        if not math.isfinite(reward):
            raise LarpoError(
                f"{reranker.name} scored candidate {row['candidate_id']} of prompt {row['prompt_id']} as {reward}",
                remedy="Load the reward model in float32, or check its weights",
            )
        scored.append({**row, "reranker": reranker.name, "list_relative": reranker.list_relative, "reward": reward})
    return scored
