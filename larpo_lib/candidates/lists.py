"""Builds the training lists: merge, drop duplicates, rank, then select or find negatives. Every drop is counted."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal

from larpo_lib.candidates.filters import Filtered, filtered
from larpo_lib.candidates.memory import Iteration, Merged, remembered
from larpo_lib.candidates.negatives import Samples, finder
from larpo_lib.candidates.ranking import best_first, pairs_tied_in_float32
from larpo_lib.candidates.related import Relate, by_shared_words
from larpo_lib.config import ListsConfig
from larpo_lib.schemas import ListRow, Messages, PromptRow, RankedRow

Counts = dict[str, float | int | None]
Drop = Literal["single", "all_tied", "no_negative", "small_gap"]


class Lists:
    """One list a prompt, where its responses allow it; built one after another as they are iterated over.

    Args:
        prompts: the row of every prompt, by prompt_id.
        history: ranked candidates of `prompts`, one mapping an iteration, current last; rewards are finite.
        config: memory, and selection or negatives.
        relate: finds related prompts, where negatives are theirs.
    """

    def __init__(
        self,
        prompts: Mapping[str, Sequence[PromptRow]],
        history: Sequence[Iteration],
        config: ListsConfig,
        relate: Relate = by_shared_words,
    ) -> None:
        self._prompts = prompts
        self._history = history
        self._config = config
        self._relate = relate
        self._tally: Counter[str] = Counter()
        self._gaps = 0.0
        self._choose: _Choose = list

    def __iter__(self) -> Iterator[ListRow]:
        """The lists by rising prompt_id."""
        config = self._config
        kept = remembered(self._history, config.memory)
        merged = Merged(kept)
        forgotten = self._history[: len(self._history) - len(kept)]
        self._tally = Counter(
            prompts=len(self._prompts),
            prompts_without_candidates=len(self._prompts) - len(merged),
            candidates_not_remembered=sum(len(rows) for iteration in forgotten for rows in iteration.values()),
        )
        self._gaps = 0.0
        pool = merged if config.filters is None else Filtered(merged, config.filters)
        self._choose = _chooser(pool, merged.candidates, self._prompts, config, self._relate)
        for prompt_id, distinct in merged.items():
            sampled = len(merged.candidates(prompt_id))
            self._tally.update(remembered=sampled, duplicates_dropped=sampled - len(distinct))
            own, dropped = (distinct, {}) if config.filters is None else filtered(distinct, config.filters)
            self._tally.update(dropped)
            chosen = self._choose(own)
            if drop := _why_dropped(own, chosen, config):
                self._tally.update({f"lists_dropped_{drop}": 1, "candidates_in_dropped_lists": len(own)})
                continue
            self._count(own, chosen)
            yield _list_row(self._prompts[prompt_id][0]["messages"], chosen, config)

    def _count(self, own: Sequence[RankedRow], chosen: Sequence[RankedRow]) -> None:
        rewards = [row["reward"] for row in chosen]
        borrowed = len(chosen) - 1 if _borrows(self._config) else 0
        wanted = 1 + self._config.negatives.count if self._config.negatives else 0
        self._tally.update(
            lists=1,
            responses=len(chosen),
            responses_borrowed=borrowed,
            candidates_not_selected=len(own) - (len(chosen) - borrowed),
            lists_short_of_negatives=int(len(chosen) < wanted),
            pairs=len(chosen) * (len(chosen) - 1) // 2,
            tied_pairs=sum(better == worse for better, worse in combinations(rewards, 2)),
            pairs_tied_in_float32=pairs_tied_in_float32(rewards),
        )
        self._gaps += rewards[0] - rewards[-1]

    def counts(self) -> Counts:
        """What became of everything, once all lists are built. Counts, where `lists_dropped_*` counts prompts:

        - prompts = lists + lists_dropped_single + lists_dropped_all_tied + lists_dropped_no_negative
          + prompts_without_candidates
        - candidates = candidates_not_remembered + duplicates_dropped + candidates_in_dropped_lists
          + candidates_not_selected + responses - responses_borrowed
        - with filters, lists_dropped_small_gap is one more of the first sum; other_lengths_dropped and
          near_duplicates_dropped are two more of the second
        - with a selection that reads texts by a model, responses_cut_for_embedding: those longer than it reads
        - lists_short_of_negatives: lists with fewer negatives than asked for
        - tied_pairs: pairs of responses in the lists with equal rewards, and tied_pair_share of all pairs
        - pairs_tied_in_float32: those whose rewards differ, but in less than float32 tells apart
        - duplicate_share of the remembered candidates, mean_list_size, mean_reward_gap between best and worst; None
          where there is nothing to take the mean of
        """
        tally = self._tally
        return {
            **{name: tally[name] for name in (*_COUNTED, *(_FILTERED if self._config.filters else ()))},
            **{f"responses_{name}": count for name, count in getattr(self._choose, "cut", dict)().items()},
            "candidates": tally["candidates_not_remembered"] + tally["remembered"],
            "duplicate_share": _share(tally["duplicates_dropped"], tally["remembered"]),
            "mean_list_size": _share(tally["responses"], tally["lists"]),
            "mean_reward_gap": _share(self._gaps, tally["lists"]),
            "tied_pair_share": _share(tally["tied_pairs"], tally["pairs"]),
        }


_COUNTED = (
    "prompts",
    "prompts_without_candidates",
    "lists",
    "lists_dropped_single",
    "lists_dropped_all_tied",
    "lists_dropped_no_negative",
    "candidates_not_remembered",
    "duplicates_dropped",
    "candidates_in_dropped_lists",
    "candidates_not_selected",
    "responses",
    "responses_borrowed",
    "lists_short_of_negatives",
    "tied_pairs",
    "pairs_tied_in_float32",
)
_FILTERED = ("lists_dropped_small_gap", "other_lengths_dropped", "near_duplicates_dropped")


_Choose = Callable[[list[RankedRow]], list[RankedRow]]


def _chooser(
    pool: Mapping[str, list[RankedRow]],
    samples: Samples,
    prompts: Mapping[str, Sequence[PromptRow]],
    config: ListsConfig,
    relate: Relate,
) -> _Choose:
    if config.negatives is None:
        return config.selection.make()
    texts: dict[str, str] = {}
    if config.negatives.kind == "related":
        texts = {prompt_id: _text(prompts[prompt_id][0]["messages"]) for prompt_id in pool}
    find = finder(config.negatives, pool, samples, texts, config.seed, relate)
    return lambda own: [own[0], *best_first(find(own))]


def _text(messages: Messages) -> str:
    return "\n".join(message["content"] for message in messages)


def _borrows(config: ListsConfig) -> bool:
    return config.negatives is not None and config.negatives.borrows


def _why_dropped(own: Sequence[RankedRow], chosen: Sequence[RankedRow], config: ListsConfig) -> Drop | None:
    if chosen[-1]["reward"] < chosen[0]["reward"]:
        least = config.filters.min_reward_gap if config.filters else 0.0
        return "small_gap" if chosen[0]["reward"] - chosen[-1]["reward"] < least else None
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


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
