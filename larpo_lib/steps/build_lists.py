"""The step `build_lists`: ranked candidates of one or more iterations to training lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from larpo_lib import artifacts, tables
from larpo_lib.artifacts import Metrics, Work
from larpo_lib.candidates.lists import build
from larpo_lib.candidates.memory import remembered
from larpo_lib.config import EmbeddingConfig, ListsConfig
from larpo_lib.embeddings import SentenceEmbedder
from larpo_lib.errors import DataError, LarpoError
from larpo_lib.schemas import PromptRow, RankedRow


def run(config: ListsConfig, *, prompts: Path, ranked: Sequence[Path], lists: Path) -> Metrics:
    """Build the lists.

    Args:
        config: which responses make up a list.
        prompts: artifact of prompts.
        ranked: artifacts of ranked candidates, one an iteration, current last.
        lists: artifact to make; holds `lists.parquet`.

    Returns:
        The counts of `larpo_lib.candidates.lists.build`, and prompts_cut_for_embedding where prompts are embedded:
        those longer than the embedding model reads; None where it does not say.

    Raises:
        DataError: a reward is not a finite number, a prompt is unknown or there twice, a temperature is needed and
            null, the iterations are out of order, or rewards that cannot be compared would be mixed: of several
            rerankers, or list-relative ones that were given apart.
        ModelError: the embedding model cannot be used.
        LarpoError: no list is left, or the package for embeddings is missing.
    """
    if not ranked:
        raise LarpoError("build_lists: no ranked candidates given", remedy="Give at least one ranked artifact")

    retriever = _embedding(config)

    def make(work: Work) -> Metrics:
        prompt_rows = cast(list[PromptRow], tables.read_table(prompts, "prompts"))
        history = [cast(list[RankedRow], tables.read_table(path, "ranked")) for path in ranked]
        known = _prompt_ids(prompts, prompt_rows)
        for path, rows in zip(ranked, history, strict=True):
            _check_rows(path, rows, known, config)
        _check_order(ranked, history)
        _check_rerankers(ranked, history, config)
        embed = None if retriever is None else SentenceEmbedder(retriever)
        built, counts = build(prompt_rows, history, config, embed)
        if not built:
            raise _nothing_left(lists, counts)
        tables.write_table(work.data / "lists.parquet", "lists", built)
        return counts if embed is None else {**counts, "prompts_cut_for_embedding": embed.cut}

    inputs = {"prompts": prompts, **{f"ranked_{i}": path for i, path in enumerate(ranked)}}
    if retriever is not None:
        inputs["retriever"] = Path(retriever.path)
    return artifacts.produce("build_lists", config, inputs, lists, make)


def _embedding(config: ListsConfig) -> EmbeddingConfig | None:
    """The embedding model that finds related prompts, if one does."""
    retriever = None if config.negatives is None else config.negatives.retriever
    return retriever if isinstance(retriever, EmbeddingConfig) else None


def _prompt_ids(path: Path, rows: Sequence[PromptRow]) -> set[str]:
    known: set[str] = set()
    for number, row in enumerate(rows):
        if row["prompt_id"] in known:
            raise DataError(
                f"prompt {row['prompt_id']} is there twice",
                path=path,
                row=number,
                field="prompt_id",
                remedy="Run prepare again",
            )
        known.add(row["prompt_id"])
    return known


def _check_rows(path: Path, rows: Sequence[RankedRow], known: set[str], config: ListsConfig) -> None:
    needs_temperature = config.negatives is not None and config.negatives.kind in ("hot", "cold")
    for number, row in enumerate(rows):
        if row["prompt_id"] not in known:
            raise DataError(
                f"prompt {row['prompt_id']} is not among the prompts",
                path=path,
                row=number,
                field="prompt_id",
                remedy="Give the prompts these candidates were sampled from",
            )
        if not math.isfinite(row["reward"]):
            raise DataError(
                f"{row['reward']} is not a finite number",
                path=path,
                row=number,
                field="reward",
                remedy="Mend the reranker and run rerank again",
            )
        if needs_temperature and row["temperature"] is None:
            raise DataError(
                "is null, but hot and cold negatives are chosen by temperature",
                path=path,
                row=number,
                field="temperature",
                remedy="Sample the candidates with larpo, or set negatives.kind to random or related",
            )


def _check_order(paths: Sequence[Path], history: Sequence[Sequence[RankedRow]]) -> None:
    latest = -1
    for path, rows in zip(paths, history, strict=True):
        newest = max((row["iteration"] for row in rows), default=latest)
        if newest < latest:
            raise DataError(
                f"iteration {newest} stands after iteration {latest}",
                path=path,
                field="iteration",
                remedy="Give the ranked artifacts in the order of their iterations, the current one last",
            )
        latest = newest


def _check_rerankers(paths: Sequence[Path], history: Sequence[Sequence[RankedRow]], config: ListsConfig) -> None:
    kept = remembered(history, config.memory)
    first: str | None = None
    for path, rows in zip(paths[-len(kept) :], kept, strict=True):
        for number, row in enumerate(rows):
            if row["list_relative"] and len(kept) > 1:
                raise DataError(
                    f"rewards of '{row['reranker']}' hold only within the list they were given in",
                    path=path,
                    row=number,
                    field="list_relative",
                    remedy="Rank the candidates of all these iterations in one call of rerank, --candidates for each,"
                    " and give only its result; or set lists.memory to current",
                )
            first = first or row["reranker"]
            if row["reranker"] != first:
                raise DataError(
                    f"rewards of '{row['reranker']}' cannot be ranked together with those of '{first}'",
                    path=path,
                    row=number,
                    field="reranker",
                    remedy="Rank all iterations with one reranker, or set lists.memory to current",
                )


def _nothing_left(lists: Path, counts: Metrics) -> LarpoError:
    return LarpoError(
        f"{lists}: of {counts['prompts']} prompts no list is left: "
        f"{counts['prompts_without_candidates']} have no candidates, "
        f"{counts['lists_dropped_single']} a single distinct response, "
        f"{counts['lists_dropped_all_tied']} equal rewards only, "
        f"{counts['lists_dropped_no_negative']} no negative",
        remedy="Sample more responses a prompt or at a higher temperature, or use a reranker that tells them apart",
    )
