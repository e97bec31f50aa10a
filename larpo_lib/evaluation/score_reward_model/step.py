"""The benchmark `score_reward_model`: how a reward model orders lists that are ranked already."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import RerankConfig
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.evaluation.score_reward_model.scoring import ScoredList, report
from larpo_lib.evaluation.score_reward_model.settings import ScoreRewardModelConfig
from larpo_lib.reporting.benchmark import write
from larpo_lib.rewards.rerankers import foresee
from larpo_lib.shards import map_in_parts
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.steps.rerank import ToScore, reranking
from larpo_lib.tables import PromptTable, Row, read_table, write_table


def run(config: ScoreRewardModelConfig, *, lists: Path, evaluation: Path) -> Metrics:
    """Publish how a reward model orders `lists`, with its scores of all responses in `ranked.parquet`.

    Args:
        config: the reward model.
        lists: artifact of `build_lists`, such as of prompts that were held back from training.
        evaluation: artifact to publish.

    Raises:
        ConfigError: the reranker needs references or columns of the prompts' rows.
        LarpoError: no list is left with two different rewards.
    """
    if config.reranker.references:
        raise ConfigError(
            "score_reward_model.reranker: the verifier needs references, which lists do not contain",
            remedy="Set its type to classifier, pairrm or http",
        )
    if config.reranker.columns:
        raise ConfigError(
            f"score_reward_model.reranker: it needs '{min(config.reranker.columns)}', a column of the prompts' rows, "
            "which lists do not contain",
            remedy="Use a reward that reads prompts and responses alone",
        )

    def make(work: WorkDir) -> Metrics:
        return _evaluate(config, lists, work)

    return produce("score_reward_model", config, {"lists": lists, **config.reranker.models()}, evaluation, make)


def _evaluate(config: ScoreRewardModelConfig, lists: Path, work: WorkDir) -> Metrics:
    rows = read_table(lists, "lists")
    prompts, candidates, ranked = (
        work.scratch / ".prompts.parquet",
        work.scratch / ".candidates.parquet",
        work.data / "ranked.parquet",
    )
    write_table(prompts, "prompts", map(_prompt, rows))
    write_table(candidates, "candidates", [candidate for row in rows for candidate in _candidates(row)])
    foresee(config.reranker, "score_reward_model", ToScore(prompts, [PromptTable(candidates, "candidates")]))
    counts = map_in_parts(
        "score_reward_model",
        sorted(row["prompt_id"] for row in rows),
        config,
        partial(reranking, RerankConfig(reranker=config.reranker), prompts, [candidates]),
        schema="ranked",
        scratch=work.scratch / "scored",
        output=ranked,
    )
    scored = read_table(ranked, "ranked", ["prompt_id", "sample_index", "reward", "reranker"])
    found = {(row["prompt_id"], row["sample_index"]): row["reward"] for row in scored}
    of_lists = {row["prompt_id"]: _scored(row, found) for row in rows}
    kept = {prompt_id: one for prompt_id, one in of_lists.items() if len(set(one.rewards)) > 1}
    if not kept:
        raise LarpoError(
            f"{lists}: no list with two different rewards could be scored",
            remedy="Increase the reranker's max_tokens, or use lists with different rewards",
        )
    identities = ", ".join(digest(path)[:8] for path in config.reranker.models().values())
    told = report(
        kept,
        reward_model=scored[0]["reranker"] + (f" ({identities})" if identities else ""),
        version=digest(lists)[:16],
        counts={**counts, "lists": len(rows), "lists_without_preference_dropped": len(rows) - len(kept)},
        bootstrap=Bootstrap.of(config),
    )
    return write(told, work.data)


def _prompt(row: Row) -> Row:
    return {"prompt_id": row["prompt_id"], "messages": row["messages"], "reference": None, "source": "lists"}


def _candidates(row: Row) -> Sequence[Row]:
    """A list's responses as candidates; `sample_index` is the place in the list."""
    columns = zip(row["candidate_ids"], row["responses"], row["finish_reasons"], strict=True)
    return [
        {
            "prompt_id": row["prompt_id"],
            "candidate_id": candidate_id,
            "iteration": 0,
            "sample_index": place,
            "temperature": None,
            "response": response,
            "token_ids": None,
            "num_tokens": None,
            "finish_reason": finish_reason,
            "policy": "lists",
        }
        for place, (candidate_id, response, finish_reason) in enumerate(columns)
    ]


def _scored(row: Row, found: dict[tuple[str, int], float]) -> ScoredList:
    places = [place for place in range(len(row["rewards"])) if (row["prompt_id"], place) in found]
    return ScoredList([found[row["prompt_id"], place] for place in places], [row["rewards"][place] for place in places])
