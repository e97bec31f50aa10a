"""Picks prompts whose responses before and after are worth reading, by a rule and not by taste."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from larpo_lib.schemas import LENGTH
from larpo_lib.tables import Row

BETTER, WORSE, SAME, UNDECIDED = "better", "worse", "same", "undecided"

SHOWN_CHARACTERS = 4000

Groups = Mapping[str, Sequence[Row]]
"""Rows by `prompt_id`."""


@dataclass(frozen=True)
class Text:
    """A text, cut at `SHOWN_CHARACTERS`; `hidden` characters are left out at its end."""

    shown: str
    hidden: int


@dataclass(frozen=True)
class Answer:
    """One response of one policy."""

    kind: str
    text: Text
    reward: float
    correct: bool | None
    tokens: int | None
    truncated: bool


@dataclass(frozen=True)
class Example:
    """A prompt with the responses of the starting and of the last policy.

    Attributes:
        outcome: whether the last policy did better, worse or the same, or this is undecided.
        messages: role and text of each turn.
    """

    outcome: str
    messages: Sequence[tuple[str, Text]]
    reference: str | None
    before: Sequence[Answer]
    after: Sequence[Answer]


def choose_examples(
    prompts: Mapping[str, Sequence[Row]], before: Groups, after: Groups, count: int
) -> tuple[list[Example], dict[str, int]]:
    """Choose at most `count` prompts: those that changed first, the largest changes first, then by `prompt_id`.

    A prompt's outcome is its greedy response: right or wrong where that is decided of both policies', its reward where
    it is of neither, and undecided where it is of one alone. If any prompt got worse, one that did is shown even where
    better ones would fill all places.

    Args:
        prompts: the row of each evaluated prompt, by `prompt_id`.
        before: evaluated rows of the starting policy, likewise.
        after: evaluated rows of the last policy.
        count: number of examples wanted.

    Returns:
        The examples, and how many prompts got better, worse, stayed the same and are undecided in all.
    """
    change = {prompt: _change(before[prompt], after[prompt]) for prompt in before if prompt in after}
    order = sorted(change, key=lambda prompt: (-abs(change[prompt] or 0.0), prompt))
    groups = {name: [p for p in order if _name(change[p]) == name] for name in (BETTER, WORSE, SAME, UNDECIDED)}
    kept_for_worse = 1 if groups[WORSE] and count > 1 else 0
    chosen = groups[BETTER][: count - kept_for_worse]
    chosen += groups[WORSE][: count - len(chosen)]
    chosen += [*groups[SAME], *groups[UNDECIDED]][: count - len(chosen)]
    examples = [
        _example(prompts[p][0], _greedy_first(before[p]), _greedy_first(after[p]), _name(change[p])) for p in chosen
    ]
    return examples, {name: len(group) for name, group in groups.items()}


def _place(row: Row) -> tuple[float, int]:
    return row["temperature"], row["sample_index"]


def _greedy_first(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=_place)


def _change(before: Sequence[Row], after: Sequence[Row]) -> float | None:
    """Of the greedy response, or of the first sampled one where none was greedy; None: it is undecided."""
    old, new = (min(rows, key=_place) for rows in (before, after))
    undecided = [row["correct"] is None for row in (old, new)]
    if any(undecided) and not all(undecided):
        return None
    compared = "reward" if all(undecided) else "correct"
    return float(new[compared]) - float(old[compared])


def _name(change: float | None) -> str:
    if change is None:
        return UNDECIDED
    return BETTER if change > 0 else WORSE if change < 0 else SAME


def _example(prompt: Row, before: Sequence[Row], after: Sequence[Row], outcome: str) -> Example:
    return Example(
        outcome=outcome,
        messages=[(message["role"], _cut(message["content"])) for message in prompt["messages"]],
        reference=prompt["reference"],
        before=_answers(before),
        after=_answers(after),
    )


def _answers(rows: Sequence[Row]) -> list[Answer]:
    greedy = [row for row in rows if row["temperature"] == 0.0][:1]
    sampled = [row for row in rows if row["temperature"] != 0.0][:1]
    return [_answer("greedy", row) for row in greedy] + [_answer("sampled", row) for row in sampled]


def _answer(kind: str, row: Row) -> Answer:
    return Answer(
        kind=kind,
        text=_cut(row["response"]),
        reward=row["reward"],
        correct=row["correct"],
        tokens=row["num_tokens"],
        truncated=row["finish_reason"] == LENGTH,
    )


def _cut(text: str) -> Text:
    return Text(shown=text[:SHOWN_CHARACTERS], hidden=max(0, len(text) - SHOWN_CHARACTERS))
