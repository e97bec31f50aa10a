"""The policy as a retriever of responses: what it sampled, and the order in which its log-probabilities put that."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import WorkDir
from larpo_lib.errors import DataError
from larpo_lib.evaluation.evaluated import UNSCORED, sampling_of, unscored, unscored_told
from larpo_lib.evaluation.retrieval.ranking import (
    Response,
    curves,
    distinct,
    draws,
    orders,
    scores_of_draws,
    scores_of_orders,
)
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.response_logps import load_logp_scorer
from larpo_lib.provenance import RecordedEvaluation, judge_name, read_settings, scored_by
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.shards import PartFn, PartResult, map_in_parts
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.tables import PromptTable, Row, read_table

_COLUMNS = (
    "prompt_id", "candidate_id", "sample_index", "temperature", "response", "reward", "list_relative", "correct",
)  # fmt: skip


def of_responses(
    config: RetrievalConfig, inputs: Mapping[str, Path], bootstrap: Bootstrap, work: WorkDir
) -> EvaluationReport:
    """What the evaluation and the policy's log-probabilities say."""
    rows = [row for row in read_table(inputs["evaluated"], "evaluated", _COLUMNS) if row["temperature"] != 0.0]
    if not rows:
        raise DataError(
            "contains no sampled response", path=inputs["evaluated"], remedy="Evaluate on at least one prompt"
        )
    logps = _logps(config, inputs, work)
    prompts = _responses(rows, logps)
    references = {row["prompt_id"]: row["reference"] for row in read_table(inputs["prompts"], "prompts")}
    drawn, ordered = draws(prompts, references), orders(prompts, per_token=config.rank_by == "logprob_per_token")
    lists = {item: distinct(group) for item, group in prompts.items()}
    recorded = read_settings(inputs["evaluated"], RecordedEvaluation)
    lacking = unscored(inputs["evaluated"])
    reranker = read_table(inputs["evaluated"], "evaluated", ["reranker"])[0]["reranker"]
    return EvaluationReport(
        benchmark="",
        title="",
        policy="",
        judged_by=f"rewards by {reranker}, right or wrong by {judge_name(inputs['evaluated']) or 'nobody'}",
        scores=[*scores_of_draws(drawn, bootstrap), *scores_of_orders(ordered, bootstrap)],
        counts={
            "prompts": len(prompts),
            "responses": len(rows),
            UNSCORED: lacking,
            "responses_without_judgement": sum(row["correct"] is None for row in rows),
            "responses_without_logprob_dropped": sum(one.logp is None for group in prompts.values() for one in group),
            "repeated_responses_dropped": sum(
                sum(one.logp is not None for one in group) - len(lists[item]) for item, group in prompts.items()
            ),
            "prompts_without_order": len(prompts) - len(ordered["kendall_tau"]),
            "prompts_without_right_response": len(prompts) - len(ordered.get("recall_at_1", {})),
        },
        values={**drawn, **{name: by_item for name, by_item in ordered.items() if by_item}},
        curves=curves({**drawn, **ordered}, bootstrap),
        caveats=[
            f"Responses were sampled at temperature {recorded.temperature}: Pass@N, rewards and orders at"
            " another temperature, n or length limit are not comparable.",
            *unscored_told(lacking, "all numbers are of the scored responses alone."),
        ],
        made_by={
            "sampling": sampling_of(inputs["evaluated"]),
            "reward": {"reranker": reranker, "settings": scored_by(inputs["evaluated"]).get("reward", {})},
        },
    )


def _responses(rows: Sequence[Row], logps: Mapping[tuple[str, int], Row]) -> dict[str, list[Response]]:
    found: dict[str, list[Response]] = {}
    for row in sorted(rows, key=lambda row: (row["prompt_id"], row["sample_index"])):
        scored = logps.get((row["prompt_id"], row["sample_index"]))
        logp, tokens = (None, 0) if scored is None else (scored["logp"], scored["num_tokens"])
        found.setdefault(row["prompt_id"], []).append(
            Response(row["candidate_id"], row["response"], row["reward"], row["correct"], logp, tokens)
        )
    return found


def _logps(config: RetrievalConfig, inputs: Mapping[str, Path], work: WorkDir) -> dict[tuple[str, int], Row]:
    """The log-probabilities of the sampled responses, by prompt and `sample_index`."""
    evaluated = inputs["evaluated"]
    output = work.data / "logps.parquet"
    map_in_parts(
        "retrieval, scoring",
        [*PromptTable(evaluated, "evaluated")],
        config,
        partial(_scoring, config, inputs["policy"], inputs["prompts"], evaluated),
        schema="logps",
        scratch=work.scratch / "logps",
        output=output,
    )
    return {(row["prompt_id"], row["sample_index"]): row for row in read_table(output, "logps")}


@contextmanager
def _scoring(config: RetrievalConfig, policy: Path, prompts: Path, evaluated: Path) -> Iterator[PartFn]:
    asked, answers = PromptTable(prompts, "prompts"), PromptTable(evaluated, "evaluated")
    score = load_logp_scorer(ModelDir(policy, config.model), config.batch_tokens)

    def make(prompt_ids: Sequence[str]) -> PartResult:
        pairs: list[Any] = [
            (asked[prompt_id][0], row)
            for prompt_id in prompt_ids
            for row in answers[prompt_id]
            if row["temperature"] != 0.0
        ]
        rows = [
            {
                "prompt_id": row["prompt_id"],
                "candidate_id": row["candidate_id"],
                "sample_index": row["sample_index"],
                "logp": found[0],
                "num_tokens": found[1],
            }
            for (_, row), found in zip(pairs, score(pairs), strict=True)
            if found is not None
        ]
        return rows, {}

    yield make
