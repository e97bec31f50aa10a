"""Held-out quality of a policy as a retriever of responses."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import LarpoError
from larpo_lib.metadata import Asked
from larpo_lib.reporting.held_out import QUALITY_COLUMNS, summarize
from larpo_lib.rewards.judges import Judge, make_judge
from larpo_lib.rewards.references import require_references
from larpo_lib.rewards.rerankers import foresee, make_reranker, require_pointwise
from larpo_lib.samplers.candidates import evaluation_draws
from larpo_lib.schemas import AskedRow
from larpo_lib.shards import PartFn, PartResult, map_in_parts
from larpo_lib.steps import watching
from larpo_lib.steps.rerank import ToScore, nothing_scored, ranked_rows, scorables, score_rows
from larpo_lib.steps.sample import chosen_prompts, draw_heldout, response_statistics
from larpo_lib.tables import PromptTable, iterate_table
from larpo_lib.thinking import thought_counts


def run(config: EvaluateConfig, *, policy: Path, prompts: Path, evaluation: Path) -> Metrics:
    """Evaluate `policy` on held-out prompts and publish every response with its reward.

    Args:
        config: how many responses at which temperature, what gives rewards, and who judges right or wrong.
        policy: directory of the policy.
        prompts: artifact of held-out prompts.
        evaluation: artifact to publish, with `evaluated.parquet`, and with `watched.parquet` if more rewards are asked
            for.

    Raises:
        ConfigError: the reranker is list-relative, so that its rewards cannot compare policies.
    """
    for setting, reranker in config.rerankers.items():
        require_pointwise(reranker, setting)
    judges = config.judge.models() if config.judge is not None else {}
    inputs = {"policy": policy, "prompts": prompts, **config.reranker.models(), **judges, **watching.models(config)}
    return produce("evaluate", config, inputs, evaluation, partial(_evaluate, config, policy, prompts))


def _evaluate(config: EvaluateConfig, policy: Path, prompts: Path, work: WorkDir) -> Metrics:
    chosen = set(chosen_prompts(prompts, config.limit))
    require_references(prompts, *config.rerankers.values(), config.judge, among=chosen)
    candidates, drawn = draw_heldout("evaluate", config, policy, prompts, evaluation_draws(config), work)
    if not drawn.get("prompts"):
        raise LarpoError(f"{prompts}: no prompt is left to evaluate on", remedy="Increase evaluate.max_prompt_tokens")
    answers = PromptTable(candidates, "candidates")
    foresee(config.reranker, "evaluate", ToScore(prompts, [answers]))
    output = work.data / "evaluated.parquet"
    scored = map_in_parts(
        "evaluate, scoring",
        [*answers],
        config,
        partial(_scoring, config, prompts, candidates),
        schema="evaluated",
        scratch=work.scratch,
        output=output,
    )
    quality = summarize(iterate_table(output, "evaluated", QUALITY_COLUMNS), config)
    if quality["mean_reward"] is None:
        raise nothing_scored(f"{prompts}: no sampled response could be scored", scored)
    if config.judge is not None and quality["accuracy"] is None:
        raise LarpoError(
            f"{prompts}: the judge {config.judge.type} could not judge any of the sampled responses",
            remedy="Set evaluate.judge.type to another judge, or remove evaluate.judge",
        )
    watched = watching.watch(config, prompts, output, work) if config.watch else {}
    return {**drawn, **scored, **response_statistics(output, "evaluated"), **quality, **watched}


@contextmanager
def _scoring(config: EvaluateConfig, prompts: Path, candidates: Path) -> Iterator[PartFn]:
    asked, answers = Asked(prompts), PromptTable(candidates, "candidates")
    reranker, judge = make_reranker(config.reranker), make_judge(config.judge)

    def make(prompt_ids: Sequence[str]) -> PartResult:
        known = asked.of(prompt_ids)
        rows: Any = [row for prompt_id in prompt_ids for row in answers[prompt_id]]
        scored = _judged(judge, known, score_rows(reranker, known, rows))
        return ranked_rows(scored), {
            "responses": len(scored),
            "too_long_to_score_dropped": len(rows) - len(scored),
            **thought_counts(row["response"] for row in rows),
            **reranker.cut(scorables(known, rows)),
        }

    yield make


def _judged(judge: Judge | None, prompts: Mapping[str, AskedRow], rows: Sequence[Any]) -> list[Any]:
    """Add `correct` to scored responses: null where the judge could not decide, and everywhere without a judge."""
    if judge is None:
        return [{**row, "correct": None} for row in rows]
    judged = judge.judge(scorables(prompts, rows))
    return [{**row, "correct": right} for row, right in zip(rows, judged, strict=True)]
