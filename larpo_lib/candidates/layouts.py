"""Lists as the rows of data sets that other trainers read: TRL's preferences, unpaired preferences, and whole lists.

Prompts and responses are conversations: the prompt a list of messages, a response a list of one message. What the
columns are called is TRL's (huggingface.co/docs/trl/dataset_formats); those beyond are ignored by its trainers and read
by `larpo prepare`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal, get_args

import pyarrow as pa

from larpo_lib.schemas import LENGTH, ListRow, Messages

Layout = Literal["pairs", "all_pairs", "several_rejected", "kto", "lists"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""What `Exported` makes of a list.

- `pairs`: the best response with each worse one, a row for each (TRL's DPOTrainer);
- `all_pairs`: every response with each worse one;
- `several_rejected`: the best response with all worse ones in one row;
- `kto`: each response with whether it is as good as the best one, a row for each (TRL's KTOTrainer);
- `lists`: all responses with their rewards in one row, which nothing is lost of."""

Record = dict[str, Any]
Made = tuple[list[Record], dict[str, int]]
"""Rows, and what was dropped."""

_MESSAGE = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])
_MESSAGES = pa.list_(_MESSAGE)


class Exported:
    """The rows of lists in a layout; made one after another as they are iterated over.

    Args:
        lists: rows of `lists`: rewards are finite; responses best first.
        layout: of the rows.
    """

    def __init__(self, lists: Iterable[ListRow], layout: Layout) -> None:
        self._lists = lists
        self._rows = _ROWS[layout]
        self._tally: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Record]:
        self._tally = Counter()
        for row in self._lists:
            self._tally.update(lists=1, responses=len(row["responses"]))
            self._tally["responses_cut"] += sum(end == LENGTH for end in row["finish_reasons"])
            made, dropped = self._rows(row)
            self._tally.update(rows=len(made), **dropped)
            yield from made

    def counts(self) -> dict[str, int]:
        """What became of the lists, once all rows are made.

        - lists, responses: what was read; rows: what was made
        - tied_pairs_dropped: pairs of responses with equal rewards, of which neither is the better one
        - tied_responses_dropped: responses as good as the best one, where that one alone is the chosen one
        - responses_cut: those that ended at the length limit; TRL adds an end of turn to them all the same
        """
        names = ("lists", "responses", "rows", "tied_pairs_dropped", "tied_responses_dropped", "responses_cut")
        return {name: self._tally[name] for name in names}


def columns(layout: Layout) -> pa.Schema:
    """The columns of a layout's rows, with their types."""
    texts, numbers = pa.list_(pa.string()), pa.list_(pa.float64())
    typed = {
        "prompt": _MESSAGES,
        "chosen": _MESSAGES,
        "rejected": pa.list_(_MESSAGES) if layout == "several_rejected" else _MESSAGES,
        "completion": _MESSAGES,
        "completions": pa.list_(_MESSAGES),
        "label": pa.bool_(),
        "score_chosen": pa.float64(),
        "score_rejected": numbers if layout == "several_rejected" else pa.float64(),
        "score": pa.float64(),
        "rewards": numbers,
        "chosen_finish_reason": pa.string(),
        "rejected_finish_reason": texts if layout == "several_rejected" else pa.string(),
        "finish_reason": pa.string(),
        "finish_reasons": texts,
        "token_ids": pa.list_(pa.list_(pa.int32())),
        "prompt_id": pa.string(),
    }
    return pa.schema([(name, typed[name]) for name in _COLUMNS[layout]])


def _pairs(row: ListRow) -> Made:
    """The best response with each worse one."""
    return _paired(row, 1)


def _all_pairs(row: ListRow) -> Made:
    """Every response with each worse one."""
    return _paired(row, len(row["responses"]))


def _paired(row: ListRow, best: int) -> Made:
    rewards = row["rewards"]
    pairs = [(better, worse) for better in range(best) for worse in range(better + 1, len(rewards))]
    made = [_pair(row, better, itemgetter(worse)) for better, worse in pairs if rewards[better] > rewards[worse]]
    return made, {"tied_pairs_dropped": len(pairs) - len(made)}


def _pair(row: ListRow, better: int, rejected: Callable[[Sequence[Any]], Any]) -> Record:
    """A response with what is rejected for it: `rejected` takes that from what there is of each response."""
    replies, rewards, ends = [_reply(text) for text in row["responses"]], row["rewards"], row["finish_reasons"]
    return {
        "prompt": row["messages"],
        "chosen": replies[better],
        "rejected": rejected(replies),
        "score_chosen": rewards[better],
        "score_rejected": rejected(rewards),
        "chosen_finish_reason": ends[better],
        "rejected_finish_reason": rejected(ends),
        "prompt_id": row["prompt_id"],
    }


def _several_rejected(row: ListRow) -> Made:
    """The best response with all worse ones."""
    rewards = row["rewards"]
    worse = [place for place, reward in enumerate(rewards) if reward < rewards[0]]
    made = _pair(row, 0, lambda values: [values[place] for place in worse])
    return [made] if worse else [], {"tied_responses_dropped": len(rewards) - 1 - len(worse)}


def _kto(row: ListRow) -> Made:
    """Each response; those with the list's best reward are desirable, as the objective `kto` has it."""
    parts = zip(row["responses"], row["rewards"], row["finish_reasons"], strict=True)
    made = [
        {
            "prompt": row["messages"],
            "completion": _reply(text),
            "label": reward == row["rewards"][0],
            "score": reward,
            "finish_reason": end,
            "prompt_id": row["prompt_id"],
        }
        for text, reward, end in parts
    ]
    return made, {}


def _whole(row: ListRow) -> Made:
    made = {
        "prompt": row["messages"],
        "completions": [_reply(text) for text in row["responses"]],
        "rewards": row["rewards"],
        "finish_reasons": row["finish_reasons"],
        "token_ids": row["token_ids"],
        "prompt_id": row["prompt_id"],
    }
    return [made], {}


def _reply(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]


_ROWS: Mapping[Layout, Callable[[ListRow], Made]] = {
    "pairs": _pairs,
    "all_pairs": _all_pairs,
    "several_rejected": _several_rejected,
    "kto": _kto,
    "lists": _whole,
}
_PAIR = (
    "prompt",
    "chosen",
    "rejected",
    "score_chosen",
    "score_rejected",
    "chosen_finish_reason",
    "rejected_finish_reason",
    "prompt_id",
)
_COLUMNS: Mapping[Layout, tuple[str, ...]] = {
    "pairs": _PAIR,
    "all_pairs": _PAIR,
    "several_rejected": _PAIR,
    "kto": ("prompt", "completion", "label", "score", "finish_reason", "prompt_id"),
    "lists": ("prompt", "completions", "rewards", "finish_reasons", "token_ids", "prompt_id"),
}
