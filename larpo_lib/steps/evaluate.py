"""Held-out quality of a policy as a retriever of responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from larpo_lib.answers import Scorable
from larpo_lib.artifacts import Metrics, Work, digest, produce
from larpo_lib.candidates.ranking import by_prompt, ranks
from larpo_lib.config import ClassifierConfig, EvaluateConfig
from larpo_lib.errors import LarpoError
from larpo_lib.evaluation.judges import Judge, make_judge
from larpo_lib.evaluation.retrieval import summarize
from larpo_lib.rerankers import make_reranker
from larpo_lib.samplers import make_sampler
from larpo_lib.samplers.candidates import Origin, draw_candidates, evaluation_draws, fitting_prompts, sampling_limits
from larpo_lib.schemas import PromptRow
from larpo_lib.shards import in_shards
from larpo_lib.steps.rerank import score_rows
from larpo_lib.steps.sample import response_statistics
from larpo_lib.tables import Row, read_table


def run(config: EvaluateConfig, *, policy: Path, prompts: Path, evaluation: Path) -> Metrics:
    """Evaluate `policy` on held-out prompts and publish every response with its reward.

    Args:
        config: how many responses at which temperature, what gives rewards, and who judges right or wrong.
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
    sampler = make_sampler(config.sampler, policy, sampling_limits(config))
    # In one order whatever the shards, on which the bootstrap would else depend.
    fitting = sorted(fitting_prompts(rows, sampler, config.max_prompt_tokens), key=lambda row: row["prompt_id"])
    if not fitting:
        raise LarpoError(f"{prompts}: no prompt is left to evaluate on", remedy="Raise evaluate.max_prompt_tokens")
    reranker, judge = make_reranker(config.reranker), make_judge(config.judge)
    known = {row["prompt_id"]: row for row in fitting}
    origin = Origin(digest(policy)[:16], 0, config.seed)
    draws = evaluation_draws(config)

    def make_shard(shard: Sequence[PromptRow]) -> list[Row]:
        drawn = list(draw_candidates(sampler, shard, draws, origin))
        scored = _judged(judge, known, score_rows(reranker, known, drawn))
        return [
            {**row, "rank": rank}
            for group in by_prompt(scored).values()
            for row, rank in zip(group, ranks([row["reward"] for row in group]), strict=True)
        ]

    output = work.data / "evaluated.parquet"
    in_shards(
        "evaluate",
        fitting,
        config.shard_prompts,
        make_shard,
        schema="evaluated",
        scratch=work.scratch,
        output=output,
    )
    evaluated = read_table(output, "evaluated")
    if all(row["temperature"] == 0 for row in evaluated):
        raise LarpoError(f"{prompts}: no sampled response could be scored", remedy="Raise the reranker's max_tokens")
    quality = summarize(evaluated, config)
    if judge is not None and quality["accuracy"] is None:
        raise LarpoError(
            f"{prompts}: the judge {judge.name} could decide none of the sampled responses",
            remedy="Give evaluate.judge another type, or leave it out",
        )
    return {
        "prompts": len(fitting),
        "prompts_too_long_dropped": len(rows) - len(fitting),
        "responses": len(evaluated),
        "too_long_to_score_dropped": len(fitting) * len(draws) - len(evaluated),
        **response_statistics(evaluated),
        **quality,
    }


def _judged(judge: Judge | None, prompts: Mapping[str, PromptRow], rows: Sequence[Row]) -> list[Any]:
    """Add `correct` to scored responses: null where the judge could not decide, and everywhere without a judge."""
    if judge is None:
        return [{**row, "correct": None} for row in rows]
    answered = [prompts[row["prompt_id"]] for row in rows]
    items = [
        Scorable(prompt["prompt_id"], prompt["messages"], row["response"], prompt["reference"])
        for prompt, row in zip(answered, rows, strict=True)
    ]
    return [{**row, "correct": right} for row, right in zip(rows, judge.judge(items), strict=True)]
