"""Asks an LLM judge about pairs of answers as the official AlpacaEval annotators do.

The official package makes the prompts, draws which answer comes first, reads the judge's answers and undoes the order.
Only the way to the server and back is ours: concurrent, retried, within a limit, every decision stored as it arrives.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from larpo_lib.endpoint import Endpoint
from larpo_lib.judging.decisions import Answer, Decisions
from larpo_lib.judging.official import official

IN_BOTH_ORDERS = " in both orders"
"""Ends the name of a judge that is asked in both."""
_NOT_POSTED = ("client_kwargs", "price_per_token", "requires_chatml")
"""Settings of an annotator for the official client itself."""
_SWITCHED = "is_switched_outputs"
"""The official package's column: whether the second answer was shown first."""


@dataclass(frozen=True)
class Pair:
    """An instruction with the reference's answer and the model's."""

    instruction: str
    reference: str
    model: str

    @property
    def swapped(self) -> "Pair":
        """The two answers in each other's place."""
        return replace(self, reference=self.model, model=self.reference)


@dataclass(frozen=True)
class Judgements:
    """What the judge says of pairs.

    Attributes:
        preferences: a pair: from 1, the reference's answer is better, to 2, the model's is; None: it could not be read,
            or there was none. Equal answers are a draw, 1.5, which nobody is asked about.
        completions: a pair: the first choice of the judge's answer; None where it was not asked.
        model_first: a pair: whether the model's answer was shown first.
        too_long: pairs that are too long for the judge.
    """

    preferences: Sequence[float | None]
    completions: Sequence[Mapping[str, Any] | None]
    model_first: Sequence[bool]
    too_long: int


def judge_name(model: str, protocol: str, *, both_orders: bool = False) -> str:
    """What tells a judge's scores from those of others: its model, and how it is asked."""
    return f"{model} by {protocol}{IN_BOTH_ORDERS if both_orders else ''}"


def judge_pairs(
    protocol: str, model: str, pairs: Sequence[Pair], store: Decisions, endpoint: Endpoint[Answer], label: str
) -> Judgements:
    """The judge's preference on each pair, in their order.

    Args:
        protocol: name of the official annotator.
        model: the judge's name at its server.
        pairs: what it is asked about.
        store: keeps decisions, and has those of earlier tries.
        endpoint: the judge's.
        label: for the progress, such as "alpaca_eval".

    Raises:
        ConfigError: the official package is not installed, more decisions are needed than allowed, or the judge is shut
            down.
        EndpointError: a request failed for good. The decisions before it are stored.
    """
    asking = _Asking(model, store, endpoint, f"{label}, judging")
    given = [{"instruction": p.instruction, "output_1": p.reference, "output_2": p.model} for p in pairs]
    with official("annotators") as annotators:
        annotator = annotators.PairwiseAnnotator(annotators_config=protocol, caching_path=None)
        single = annotator.annotators[protocol]
        single.fn_completions = asking
        rows = annotator.annotate_pairs(given, chunksize=None)  # all at once: the limit holds before anything is bought
        switched = _switched(single, given)
    found = {Pair(row["instruction"], row["output_1"], row["output_2"]): row for row in rows}
    by_pair = [found[pair] for pair in pairs]
    return Judgements(
        preferences=[_preference(row["preference"]) for row in by_pair],
        completions=[_completion(row.get("preference_raw_completion")) for row in by_pair],
        model_first=switched,
        too_long=asking.too_long,
    )


def judge_in_both_orders(
    protocol: str, model: str, pairs: Sequence[Pair], store: Decisions, endpoint: Endpoint[Answer], label: str
) -> tuple[Judgements, Judgements]:
    """As `judge_pairs`, and the same with the answers shown in the other order; both prefer 2 where the model's wins.

    The official order depends on the instruction alone, so answers in each other's place are shown the other way round.
    """
    both = judge_pairs(protocol, model, [*pairs, *(pair.swapped for pair in pairs)], store, endpoint, label)
    half = len(pairs)
    first = Judgements(both.preferences[:half], both.completions[:half], both.model_first[:half], both.too_long)
    back = [None if preference is None else 3 - preference for preference in both.preferences[half:]]
    shown = [not switched for switched in both.model_first[half:]]
    return first, Judgements(back, both.completions[half:], shown, 0)


def mean_of_orders(first: Judgements, second: Judgements) -> Judgements:
    """The mean preference of both orders, None where one has none; the rest is the first's."""
    means = [
        None if one is None or other is None else (one + other) / 2
        for one, other in zip(first.preferences, second.preferences, strict=True)
    ]
    return replace(first, preferences=means)


class _Asking:
    """Takes the place of the official client's function that posts prompts and returns what was answered."""

    def __init__(self, model: str, store: Decisions, endpoint: Endpoint[Answer], label: str) -> None:
        self._model, self._store, self._endpoint, self._label = model, store, endpoint, label
        self.too_long = 0

    def __call__(self, prompts: Sequence[str], model_name: str, **settings: Any) -> dict[str, list[Any]]:
        requests = [_request(prompt, self._model, settings) for prompt in prompts]
        answers = self._store.ask(self._endpoint, requests, label=self._label)
        self.too_long += answers.count(None)
        choices = [{"text": ""} if answer is None else _choice(answer) for answer in answers]
        return {"completions": [choice["text"] for choice in choices], "completions_all": choices}


def _switched(single: Any, given: Sequence[Mapping[str, str]]) -> list[bool]:
    """Whether the second answer of each pair is shown first: what the package draws by the instruction."""
    import pandas as pd

    if not given:
        return []
    switch = next(one for one in single.processors if getattr(one, "_switch_column", None) == _SWITCHED)
    return [bool(value) for value in switch.preprocess(pd.DataFrame(given))[_SWITCHED]]


def _request(prompt: str, model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The body that the official client posts for a prompt, with the model's name at this server."""
    from alpaca_eval.utils import prompt_to_chatml

    posted = {name: value for name, value in settings.items() if name not in _NOT_POSTED}
    return {"model": model, "messages": prompt_to_chatml(prompt.strip()), "top_p": 1.0, **posted}


def _choice(answer: Answer) -> dict[str, Any]:
    """The first choice with its `text`, as the official client finds it: a tool call's arguments go before content."""
    choice = answer["choices"][0]
    message = choice["message"]
    text = " " if message.get("content") == "" else message.get("content")
    called = message.get("function_call")
    if message.get("tool_calls"):
        called = message["tool_calls"][0].get("function")
    return {**choice, "text": called.get("arguments") if called else text}


def _preference(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _completion(value: Any) -> Mapping[str, Any] | None:
    """What the package hands through: a choice, its text, or NaN where it had none."""
    if isinstance(value, str):
        return {"text": value}
    return value if isinstance(value, dict) else None
