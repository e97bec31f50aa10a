"""Builds the training lists: merge, drop duplicates, rank, then select or find negatives. Every drop is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal

from larpo_lib.candidates.memory import Merged, merge
from larpo_lib.candidates.negatives import finder
from larpo_lib.candidates.ranking import best_first
from larpo_lib.candidates.related import Embed
from larpo_lib.candidates.selection import select
from larpo_lib.config import ListsConfig
from larpo_lib.schemas import ListRow, Messages, PromptRow, RankedRow

Counts = dict[str, float | int | None]
Drop = Literal["single", "all_tied", "no_negative"]


def build(
    prompts: Sequence[PromptRow],
    history: Sequence[Sequence[RankedRow]],
    config: ListsConfig,
    embed: Embed | None = None,
) -> tuple[list[ListRow], Counts]:
    """Build one list a prompt, where its responses allow it.

    Args:
        prompts: all prompts, each prompt_id once.
        history: ranked candidates of `prompts`, one sequence an iteration, current last; rewards are finite.
        config: memory, and selection or negatives.
        embed: gives prompts' texts their embeddings; needed by the retriever `embedding` only.

    Returns:
        The lists by rising prompt_id, and what became of everything. Counts, where `lists_dropped_*` counts prompts:

        - prompts = lists + lists_dropped_single + lists_dropped_all_tied + lists_dropped_no_negative
          + prompts_without_candidates
        - candidates = candidates_not_remembered + duplicates_dropped + candidates_in_dropped_lists
          + candidates_not_selected + responses - responses_borrowed
        - lists_short_of_negatives: lists with fewer negatives than asked for
        - tied_pairs: pairs of responses in the lists with equal rewards, and tied_pair_share of all pairs
        - duplicate_share of the remembered candidates, mean_list_size, mean_reward_gap between best and worst; None
          where there is nothing to take the mean of
    """
    merged = merge(history, config.memory)
    messages = {prompt["prompt_id"]: prompt["messages"] for prompt in prompts}
    assert len(messages) == len(prompts), "prompt_ids must be unique"
    choose = _chooser(merged, messages, config, embed)
    lists: list[ListRow] = []
    dropped: Counter[Drop] = Counter()
    lost = 0
    for prompt_id, own in merged.lists.items():
        chosen = choose(own)
        if drop := _why_dropped(own, chosen, config):
            dropped[drop] += 1
            lost += len(own)
        else:
            lists.append(_list_row(messages[prompt_id], chosen, config))
    counts: Counts = {
        "prompts": len(prompts),
        "prompts_without_candidates": len(prompts) - len(merged.lists),
        "lists": len(lists),
        "lists_dropped_single": dropped["single"],
        "lists_dropped_all_tied": dropped["all_tied"],
        "lists_dropped_no_negative": dropped["no_negative"],
        **_candidate_counts(history, merged, lists, lost, config),
        **_list_statistics(lists),
    }
    return lists, counts


def _chooser(
    merged: Merged, messages: Mapping[str, Messages], config: ListsConfig, embed: Embed | None
) -> Callable[[list[RankedRow]], list[RankedRow]]:
    if config.negatives is None:
        return lambda own: select(own, config.selection)
    texts = {prompt_id: "\n".join(message["content"] for message in messages[prompt_id]) for prompt_id in merged.lists}
    find = finder(config.negatives, merged.lists, texts, config.seed, embed)
    return lambda own: [own[0], *best_first(find(own[0]["prompt_id"]))]


def _borrows(config: ListsConfig) -> bool:
    return config.negatives is not None and config.negatives.kind in ("random", "related")


def _why_dropped(own: Sequence[RankedRow], chosen: Sequence[RankedRow], config: ListsConfig) -> Drop | None:
    if chosen[-1]["reward"] < chosen[0]["reward"]:
        return None
    if _borrows(config):
        return "no_negative"
    if len(own) < 2:
        return "single"
    return "all_tied" if own[-1]["reward"] == own[0]["reward"] else "no_negative"


def _list_row(messages: Messages, chosen: Sequence[RankedRow], config: ListsConfig) -> ListRow:
    kind = config.negatives.kind if config.negatives else ""
    return {
        "prompt_id": chosen[0]["prompt_id"],
        "messages": messages,
        "candidate_ids": [row["candidate_id"] for row in chosen],
        "responses": [row["response"] for row in chosen],
        "token_ids": [row["token_ids"] for row in chosen],
        "rewards": [row["reward"] for row in chosen],
        "finish_reasons": [row["finish_reason"] for row in chosen],
        "negative_kinds": ["", *[kind] * (len(chosen) - 1)],
    }


def _candidate_counts(
    history: Sequence[Sequence[RankedRow]], merged: Merged, lists: Sequence[ListRow], lost: int, config: ListsConfig
) -> Counts:
    candidates = sum(len(iteration) for iteration in history)
    responses = sum(len(row["responses"]) for row in lists)
    borrowed = responses - len(lists) if _borrows(config) else 0
    distinct = merged.remembered - merged.duplicates_dropped
    wanted = 1 + config.negatives.count if config.negatives else 0
    return {
        "candidates": candidates,
        "candidates_not_remembered": candidates - merged.remembered,
        "duplicates_dropped": merged.duplicates_dropped,
        "duplicate_share": _share(merged.duplicates_dropped, merged.remembered),
        "candidates_in_dropped_lists": lost,
        "candidates_not_selected": distinct - lost - (responses - borrowed),
        "responses": responses,
        "responses_borrowed": borrowed,
        "lists_short_of_negatives": sum(len(row["responses"]) < wanted for row in lists),
    }


def _list_statistics(lists: Sequence[ListRow]) -> Counts:
    pairs = ties = 0
    for row in lists:
        for better, worse in combinations(row["rewards"], 2):
            pairs += 1
            ties += better == worse
    return {
        "mean_list_size": _share(sum(len(row["responses"]) for row in lists), len(lists)),
        "mean_reward_gap": _share(sum(row["rewards"][0] - row["rewards"][-1] for row in lists), len(lists)),
        "tied_pairs": ties,
        "tied_pair_share": _share(ties, pairs),
    }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
