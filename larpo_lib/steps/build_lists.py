"""The step `build_lists`: ranked candidates of one or more iterations to training lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc

from larpo_lib import artifacts
from larpo_lib.artifacts import Metrics, WorkDir
from larpo_lib.candidates.lists import Lists
from larpo_lib.candidates.memory import remembered
from larpo_lib.config import ListsConfig, RetrieverConfig
from larpo_lib.config.differences import differences
from larpo_lib.errors import DataError, LarpoError
from larpo_lib.provenance import scored_by
from larpo_lib.retrievers import make_retriever
from larpo_lib.tables import PromptTable, iterate_table, read_columns, write_table

_ONE_RERANKER = "Rank all iterations with one reranker, or set lists.memory to current"


def run(config: ListsConfig, *, prompts: Path, ranked: Sequence[Path], lists: Path) -> Metrics:
    """Build the lists.

    Args:
        config: which responses make up a list.
        prompts: artifact of prompts.
        ranked: artifacts of ranked candidates, one an iteration, current last.
        lists: artifact to make; holds `lists.parquet`.

    Returns:
        What `larpo_lib.candidates.lists.Lists.counts` says. For related prompts by words
        prompts_compared_by_rare_words (see `candidates.related.SharedWords`); where prompts are embedded
        prompts_cut_for_embedding: those longer than the embedding model reads, None where it does not say.

    Raises:
        DataError: a reward is not a finite number, a prompt is unknown or there twice, a temperature is needed and
            null, the iterations are out of order, or rewards that cannot be compared would be mixed: of several
            rerankers, or list-relative ones that were given apart.
        ModelError: the embedding model cannot be used.
        LarpoError: no list is left, or the package for embeddings is missing.
    """
    if not ranked:
        raise LarpoError("build_lists: no ranked candidates", remedy="Pass at least one ranked artifact")

    retriever = RetrieverConfig.default() if config.negatives is None else config.negatives.retriever

    def make(work: WorkDir) -> Metrics:
        known = _prompts(prompts)
        kept = remembered(ranked, config.memory)
        for path in ranked:
            _check_rows(path, known, config)
        _check_order(ranked)
        _check_rerankers(kept)
        related = make_retriever(retriever)
        history: list[Any] = [PromptTable(path, "ranked") for path in ranked]
        built = Lists(cast(Any, known), history, config, related.related)
        if not write_table(work.data / "lists.parquet", "lists", built):
            raise _nothing_left(lists, built.counts())
        return {**built.counts(), **{f"prompts_{name}": count for name, count in related.cut().items()}}

    inputs = {"prompts": prompts, **{f"ranked_{i}": path for i, path in enumerate(ranked)}}
    inputs |= retriever.models() if config.negatives else config.selection.models()
    return artifacts.produce("build_lists", config, inputs, lists, make)


def _prompts(path: Path) -> PromptTable:
    table = PromptTable(path, "prompts")
    if len(table) < table.num_rows:
        twice = next(prompt_id for prompt_id in table if len(table[prompt_id]) > 1)
        raise DataError(
            f"prompt {twice} appears twice",
            path=path,
            row=table.row_numbers(twice)[1],
            field="prompt_id",
            remedy="Run prepare again",
        )
    return table


def _check_rows(path: Path, known: PromptTable, config: ListsConfig) -> None:
    table = PromptTable(path, "ranked", [])
    if unknown := {table.row_numbers(prompt_id)[0]: prompt_id for prompt_id in table if prompt_id not in known}:
        raise DataError(
            f"prompt {unknown[min(unknown)]} is not in the prompts",
            path=path,
            row=min(unknown),
            field="prompt_id",
            remedy="Pass the prompts from which these candidates were sampled",
        )
    rows = read_columns(path, "ranked", ["reward", "temperature"])
    infinite = np.flatnonzero(~np.isfinite(rows["reward"].to_numpy()))
    if len(infinite):
        raise DataError(
            f"{rows['reward'][infinite[0]]} is not a finite number",
            path=path,
            row=int(infinite[0]),
            field="reward",
            remedy="Fix the reranker and run rerank again",
        )
    if config.negatives is not None and not config.negatives.borrows and rows["temperature"].null_count:
        raise DataError(
            "is null, but hot and cold negatives are chosen by temperature",
            path=path,
            row=next(number for number, value in enumerate(rows["temperature"]) if not value.is_valid),
            field="temperature",
            remedy="Sample the candidates with larpo, or set negatives.kind to random or related",
        )


def _check_order(paths: Sequence[Path]) -> None:
    latest = -1
    for path in paths:
        newest = pc.max(read_columns(path, "ranked", ["iteration"])["iteration"]).as_py()
        if newest is not None and newest < latest:
            raise DataError(
                f"iteration {newest} comes after iteration {latest}",
                path=path,
                field="iteration",
                remedy="Pass the ranked artifacts in the order of their iterations, the current one last",
            )
        latest = latest if newest is None else newest


def _check_rerankers(paths: Sequence[Path]) -> None:
    first: str | None = None
    made: dict[str, Any] | None = None
    for path in paths:
        _check_list_relative(path, alone=len(paths) == 1)
        for number, name in enumerate(row["reranker"] for row in iterate_table(path, "ranked", ["reranker"])):
            first = first or name
            if name != first:
                raise DataError(
                    f"rewards of '{name}' cannot be ranked together with those of '{first}'",
                    path=path,
                    row=number,
                    field="reranker",
                    remedy=_ONE_RERANKER,
                )
        now = scored_by(path).get("reward")
        made = made or now
        if now is not None and (what := differences(now, made)):
            raise DataError(
                f"rewards of '{first}' cannot be ranked together with those of another '{first}': {what}",
                path=path,
                field="reranker",
                remedy=_ONE_RERANKER,
            )


def _check_list_relative(path: Path, *, alone: bool) -> None:
    if alone:
        return
    rows = enumerate(iterate_table(path, "ranked", ["list_relative"]))
    relative = next((number for number, row in rows if row["list_relative"]), None)
    if relative is not None:
        raise DataError(
            "rewards are only comparable within the list in which they were scored",
            path=path,
            row=relative,
            field="list_relative",
            remedy="Rank the candidates of all these iterations in one call of rerank (--candidates for each) and pass "
            "only its result, or set lists.memory to current",
        )


def _nothing_left(lists: Path, counts: Metrics) -> LarpoError:
    names = ("lists_dropped_small_gap", "near_duplicates_dropped", "other_lengths_dropped")
    told = ", ".join(f"{name.replace('_', ' ')}: {counts[name]}" for name in names if name in counts)
    filters = f", or relax lists.filters ({told})" if told else ""
    return LarpoError(
        f"{lists}: no list is left. Of {counts['prompts']} prompts, {counts['prompts_without_candidates']} have "
        f"no candidates, {counts['lists_dropped_single']} only one distinct response, "
        f"{counts['lists_dropped_all_tied']} only equal rewards, and {counts['lists_dropped_no_negative']} no negative",
        remedy="Sample more responses for each prompt or at a higher temperature, or use a reranker that distinguishes "
        f"them{filters}",
    )
