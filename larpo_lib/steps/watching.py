"""Further rewards of the responses that an evaluation has scored: of the same ones, nothing is sampled for them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir
from larpo_lib.config import EvaluateConfig, WatchConfig
from larpo_lib.metadata import Asked
from larpo_lib.reporting.held_out import watched_quality
from larpo_lib.rewards.rerankers import foresee, make_reranker
from larpo_lib.schemas import SCHEMAS
from larpo_lib.shards import PartFn, PartResult, map_in_parts
from larpo_lib.steps.rerank import ToScore, nothing_scored, scorables, score_rows
from larpo_lib.tables import PromptTable, concat_tables, iterate_table


def models(config: EvaluateConfig) -> dict[str, Path]:
    """The directories of the models that give the further rewards, by names for the step's inputs."""
    return {f"{one.metric}_{name}": path for one in config.watch for name, path in one.reranker.models().items()}


def watch(config: EvaluateConfig, prompts: Path, evaluated: Path, work: WorkDir) -> Metrics:
    """Publish `watched.parquet`, the further rewards of every response in `evaluated`, one reranker after another.

    Args:
        config: which rewards, at least one.
        prompts: artifact of the held-out prompts.
        evaluated: table of the responses.
        work: of the step.

    Returns:
        Of each reward the mean over prompts of its mean over sampled responses, with the bounds of its bootstrap
        interval, its mean over greedy responses, and how many responses have none.

    Raises:
        LarpoError: no sampled response could be scored.
    """
    metrics: Metrics = {}
    tables = []
    for one in config.watch:
        path = work.scratch / f".{one.metric}.parquet"
        metrics |= _watch(config, one, prompts, evaluated, path)
        tables.append(path)
    concat_tables(tables, "watched", work.data / "watched.parquet")
    return metrics


def _watch(config: EvaluateConfig, one: WatchConfig, prompts: Path, evaluated: Path, output: Path) -> Metrics:
    answers = PromptTable(evaluated, "evaluated")
    foresee(one.reranker, f"evaluate, watch {one.name}", ToScore(prompts, [answers]))
    counts = map_in_parts(
        f"evaluate, watch {one.name}",
        [*answers],
        config,
        partial(_scoring, one, prompts, evaluated),
        schema="watched",
        scratch=output.with_name(one.metric),
        output=output,
    )
    quality = watched_quality(one.metric, iterate_table(output, "watched"), config)
    if quality[one.metric] is None:
        raise nothing_scored(
            f"{prompts}: evaluate.watch '{one.name}' could not score any of the sampled responses", counts
        )
    return {**quality, **{f"{one.metric}_{name}": count for name, count in counts.items()}}


@contextmanager
def _scoring(one: WatchConfig, prompts: Path, evaluated: Path) -> Iterator[PartFn]:
    asked, answers = Asked(prompts), PromptTable(evaluated, "evaluated")
    reranker = make_reranker(one.reranker)

    def make(prompt_ids: Sequence[str]) -> PartResult:
        known = asked.of(prompt_ids)
        rows: Any = [row for prompt_id in prompt_ids for row in answers[prompt_id]]
        scored = score_rows(reranker, known, rows)
        dropped = len(rows) - len(scored)
        return _named(one.name, scored), {"too_long_to_score_dropped": dropped, **reranker.cut(scorables(known, rows))}

    yield make


def _named(name: str, rows: Iterable[Any]) -> list[dict[str, Any]]:
    return [{column: {**row, "watch": name}[column] for column in SCHEMAS["watched"].names} for row in rows]
