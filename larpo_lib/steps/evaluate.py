"""Held-out quality of a policy as a retriever of responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.answers import Scorable
from larpo_lib.artifacts import Metrics, Work, digest, produce
from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import LarpoError
from larpo_lib.evaluation.judges import Judge, make_judge
from larpo_lib.evaluation.retrieval import summarize
from larpo_lib.rerankers import make_reranker, model_paths, require_pointwise
from larpo_lib.samplers import make_sampler
from larpo_lib.samplers.candidates import Origin, draw_candidates, evaluation_draws, fitting_prompts, sampling_limits
from larpo_lib.schemas import PromptRow
from larpo_lib.shards import Made, Make, in_parts
from larpo_lib.steps.rerank import ranked_rows, score_rows
from larpo_lib.steps.sample import response_statistics
from larpo_lib.tables import PromptTable, Row, read_table


def run(config: EvaluateConfig, *, policy: Path, prompts: Path, evaluation: Path) -> Metrics:
    """Evaluate `policy` on held-out prompts and publish every response with its reward.

    Args:
        config: how many responses at which temperature, what gives rewards, and who judges right or wrong.
        policy: directory of the policy.
        prompts: artifact of held-out prompts.
        evaluation: artifact to publish, with `evaluated.parquet`.

    Raises:
        ConfigError: the reranker is list-relative, so that its rewards cannot compare policies.
    """
    require_pointwise(config.reranker, "evaluate.reranker")

    def make(work: Work) -> Metrics:
        return _evaluate(config, policy, prompts, work)

    inputs = {"policy": policy, "prompts": prompts, **model_paths(config.reranker)}
    return produce("evaluate", config, inputs, evaluation, make)


def _evaluate(config: EvaluateConfig, policy: Path, prompts: Path, work: Work) -> Metrics:
    # In one order whatever the parts, on which the bootstrap would else depend.
    chosen = [*PromptTable(prompts, "prompts")][: config.limit]
    output = work.data / "evaluated.parquet"
    counts = in_parts(
        "evaluate",
        chosen,
        config.part_prompts,
        partial(_evaluating, config, policy, prompts),
        schema="evaluated",
        scratch=work.scratch,
        output=output,
        processes=config.processes,
    )
    if not counts.get("prompts"):
        raise LarpoError(f"{prompts}: no prompt is left to evaluate on", remedy="Raise evaluate.max_prompt_tokens")
    evaluated = read_table(output, "evaluated")
    if all(row["temperature"] == 0 for row in evaluated):
        raise LarpoError(f"{prompts}: no sampled response could be scored", remedy="Raise the reranker's max_tokens")
    quality = summarize(evaluated, config)
    if config.judge is not None and quality["accuracy"] is None:
        raise LarpoError(
            f"{prompts}: the judge {config.judge.type} could decide none of the sampled responses",
            remedy="Give evaluate.judge another type, or leave it out",
        )
    return {**counts, **response_statistics(output, "evaluated"), **quality}


@contextmanager
def _evaluating(config: EvaluateConfig, policy: Path, prompts: Path) -> Iterator[Make]:
    table = PromptTable(prompts, "prompts")
    origin = Origin(digest(policy)[:16], 0, config.seed)
    draws = evaluation_draws(config)
    reranker, judge = make_reranker(config.reranker), make_judge(config.judge)
    with closing(make_sampler(config.sampler, policy, sampling_limits(config))) as sampler:

        def make(prompt_ids: Sequence[str]) -> Made:
            rows: list[Any] = [row for prompt_id in prompt_ids for row in table[prompt_id]]
            fitting = fitting_prompts(rows, sampler, config.max_prompt_tokens)
            known = {row["prompt_id"]: row for row in fitting}
            drawn = list(draw_candidates(sampler, fitting, draws, origin))
            scored = _judged(judge, known, score_rows(reranker, known, drawn))
            return ranked_rows(scored), {
                "prompts": len(fitting),
                "prompts_too_long_dropped": len(rows) - len(fitting),
                "responses": len(scored),
                "too_long_to_score_dropped": len(drawn) - len(scored),
            }

        yield make


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
