"""Held-out quality of a policy as a retriever of responses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from larpo_lib.artifacts import Metrics, Work, digest, produce
from larpo_lib.candidates.ranking import by_prompt, ranks
from larpo_lib.config import ClassifierConfig, EvaluateConfig
from larpo_lib.errors import LarpoError
from larpo_lib.evaluation.retrieval import summarize
from larpo_lib.rerankers import Scorable, make_reranker
from larpo_lib.rerankers.verifier import is_right
from larpo_lib.samplers import make_sampler
from larpo_lib.samplers.candidates import Origin, draw_candidates, evaluation_draws, fitting_prompts
from larpo_lib.schemas import PromptRow
from larpo_lib.shards import in_shards
from larpo_lib.steps.rerank import score_rows
from larpo_lib.steps.sample import response_statistics
from larpo_lib.tables import Row, read_table


def run(config: EvaluateConfig, *, policy: Path, prompts: Path, evaluation: Path) -> Metrics:
    """Evaluate `policy` on held-out prompts and publish every response with its reward.

    Args:
        config: how many responses at which temperature, and who judges them.
        policy: directory of the policy.
        prompts: artifact of held-out prompts.
        evaluation: artifact to publish, with `evaluated.parquet`.
    """

    def make(work: Work) -> Metrics:
        return _evaluate(config, policy, prompts, work)

    inputs = {"policy": policy, "prompts": prompts}
    if isinstance(config.reranker, ClassifierConfig):
        inputs["reranker"] = Path(config.reranker.path)
    return produce("evaluate", config, inputs, evaluation, make)


def _evaluate(config: EvaluateConfig, policy: Path, prompts: Path, work: Work) -> Metrics:
    rows = cast(list[PromptRow], read_table(prompts, "prompts"))[: config.limit]
    sampler = make_sampler(config.sampler, policy, top_p=config.top_p, max_new_tokens=config.max_new_tokens)
    fitting = fitting_prompts(rows, sampler, config.max_prompt_tokens)
    if not fitting:
        raise LarpoError(f"{prompts}: no prompt is left to evaluate on", remedy="Raise evaluate.max_prompt_tokens")
    reranker = make_reranker(config.reranker)
    known = {row["prompt_id"]: row for row in fitting}
    origin = Origin(digest(policy)[:16], 0, config.seed)
    draws = evaluation_draws(config)

    def make_shard(shard: Sequence[PromptRow]) -> list[Row]:
        drawn = list(draw_candidates(sampler, shard, draws, origin))
        scored = score_rows(reranker, known, drawn)
        return [
            {**row, "rank": rank, "correct": _correct(config, known[row["prompt_id"]], row)}
            for group in by_prompt(scored).values()
            for row, rank in zip(group, ranks([row["reward"] for row in group]), strict=True)
        ]

    output = work.data / "evaluated.parquet"
    in_shards("evaluate", fitting, 256, make_shard, schema="evaluated", scratch=work.scratch, output=output)
    evaluated = read_table(output, "evaluated")
    if not evaluated:
        raise LarpoError(f"{prompts}: no response could be scored", remedy="Raise the reranker's max_tokens")
    return {
        "prompts": len(fitting),
        "prompts_too_long_dropped": len(rows) - len(fitting),
        "responses": len(evaluated),
        "too_long_to_score_dropped": len(fitting) * len(draws) - len(evaluated),
        **response_statistics(evaluated),
        **summarize(evaluated, config),
    }


def _correct(config: EvaluateConfig, prompt: PromptRow, row: dict[str, Any]) -> bool | None:
    if config.verifier is None:
        return None
    return is_right(Scorable(row["prompt_id"], prompt["messages"], row["response"], prompt["reference"]))
