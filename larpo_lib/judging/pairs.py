"""Asks an LLM judge about pairs of answers as the official AlpacaEval annotators do.

The official package makes the prompts, draws which answer comes first, reads the judge's answers and undoes the order.
Only the way to the server and back is ours: concurrent, retried, within a limit, every decision stored as it arrives.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from larpo_lib.endpoint import Endpoint
from larpo_lib.judging.decisions import Answer, Decisions
from larpo_lib.judging.official import official
from larpo_lib.judging.tokens import names_once
from larpo_lib.judging.unreadable import Unreadable
from larpo_lib.thinking import without_thoughts

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
        too_long: a pair: whether it is too long for the judge.
        names_neither: a pair: whether the judge is to name one of the answers, and most probably names neither.
    """

    preferences: Sequence[float | None]
    completions: Sequence[Mapping[str, Any] | None]
    model_first: Sequence[bool]
    too_long: Sequence[bool] = ()
    names_neither: Sequence[bool] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Of pairs without a preference, as benchmarks name them."""
        return {"too_long_for_judge": sum(self.too_long), "judge_names_neither": sum(self.names_neither)}


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
        LarpoError: none of the judge's first answers can be read.
    """
    given = [{"instruction": p.instruction, "output_1": p.reference, "output_2": p.model} for p in pairs]
    with official("annotators") as annotators:
        annotator = annotators.PairwiseAnnotator(annotators_config=protocol, caching_path=None)
        single = annotator.annotators[protocol]
        single.fn_completions = asking = _Asking(model, store, endpoint, label, _Reading(single), protocol)
        rows = annotator.annotate_pairs(given, chunksize=None)  # all at once: the limit holds before anything is bought
        switched, prompts = _shown(single, given)
    found = {Pair(row["instruction"], row["output_1"], row["output_2"]): row for row in rows}
    by_pair = [found[pair] for pair in pairs]
    return Judgements(
        preferences=[_preference(row["preference"]) for row in by_pair],
        completions=[_completion(row.get("preference_raw_completion")) for row in by_pair],
        model_first=switched,
        too_long=[prompt in asking.too_long for prompt in prompts],
        names_neither=[prompt in asking.names_neither for prompt in prompts],
    )


def judge_in_both_orders(
    protocol: str, model: str, pairs: Sequence[Pair], store: Decisions, endpoint: Endpoint[Answer], label: str
) -> tuple[Judgements, Judgements]:
    """As `judge_pairs`, and the same with the answers shown in the other order; both prefer 2 where the model's wins.

    The official order depends on the instruction alone, so answers in each other's place are shown the other way round.
    """
    both = judge_pairs(protocol, model, [*pairs, *(pair.swapped for pair in pairs)], store, endpoint, label)
    first, second = (
        Judgements(**{field.name: getattr(both, field.name)[part] for field in fields(both)})
        for part in (slice(len(pairs)), slice(len(pairs), None))
    )
    back = [None if preference is None else 3 - preference for preference in second.preferences]
    return first, replace(second, preferences=back, model_first=[not switched for switched in second.model_first])


def mean_of_orders(first: Judgements, second: Judgements) -> Judgements:
    """The mean preference of both orders, None where one has none. A pair counts once; the rest is the first's."""
    means = [
        None if one is None or other is None else (one + other) / 2
        for one, other in zip(first.preferences, second.preferences, strict=True)
    ]
    either = {
        name: [one or other for one, other in zip(getattr(first, name), getattr(second, name), strict=True)]
        for name in ("too_long", "names_neither")
    }
    return replace(first, preferences=means, **either)


class _Reading:
    """Takes the place of an official annotator's function that reads the judge's answers, and reads them by it.

    An annotator by probabilities divides the one of a name by that of both, however small it is, and of names that are
    there twice it takes the last one.
    """

    def __init__(self, single: Any) -> None:
        self._single, self._parser = single, single.fn_completion_parser
        self._names = frozenset(self._parser.keywords.get("denominator_tokens", ()))
        single.fn_completion_parser = self

    def __call__(self, completion: Any) -> Sequence[Any]:
        found = names_once(completion, self._names) if self._names else completion
        read: Sequence[Any] = [math.nan] if found is None else self._parser(found)
        return read

    def names_neither(self, answer: Answer) -> bool:
        return bool(self._names) and names_once(_choice(answer), self._names) is None

    def can_read(self, answer: Answer) -> bool:
        choice = _choice(answer)
        given = choice["text"] if self._single.completion_key == "completions" else choice
        (value,), _ = self._single._parse_completions([given])
        return _preference(value) is not None


class _Asking:
    """Takes the place of the official client's function that posts prompts and returns what was answered."""

    def __init__(
        self, model: str, store: Decisions, endpoint: Endpoint[Answer], label: str, reading: _Reading, protocol: str
    ) -> None:
        self._model, self._store, self._endpoint, self._label = model, store, endpoint, label
        self._reading = reading
        self._remedy = (
            f"Set {label}.judge to a model that answers as the protocol {protocol} asks, with no thoughts before, or "
            f"{label}.protocol to another one"
        )
        self.too_long: set[str] = set()
        self.names_neither: set[str] = set()

    def __call__(self, prompts: Sequence[str], model_name: str, **settings: Any) -> dict[str, list[Any]]:
        requests = [_request(prompt, self._model, settings) for prompt in prompts]
        guard = Unreadable(self._reading.can_read, self._remedy)
        answers = self._store.ask(self._endpoint, requests, label=f"{self._label}, judging", look=guard.look)
        for prompt, answer in zip(prompts, answers, strict=True):
            if answer is None:
                self.too_long.add(prompt)
            elif self._reading.names_neither(answer):
                self.names_neither.add(prompt)
        choices = [{"text": ""} if answer is None else _choice(answer) for answer in answers]
        return {"completions": [choice["text"] for choice in choices], "completions_all": choices}


def _shown(single: Any, given: Sequence[Mapping[str, str]]) -> tuple[list[bool], list[str]]:
    """Whether the second answer of each pair is shown first, which the package draws by the instruction; its prompt."""
    import pandas as pd

    if not given:
        return [], []
    switch = next(one for one in single.processors if getattr(one, "_switch_column", None) == _SWITCHED)
    shown = switch.preprocess(pd.DataFrame(given))
    prompts, _ = single._make_prompts(shown)
    return [bool(value) for value in shown[_SWITCHED]], prompts


def _request(prompt: str, model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The body that the official client posts for a prompt, with the model's name at this server."""
    from alpaca_eval.utils import prompt_to_chatml

    posted = {name: value for name, value in settings.items() if name not in _NOT_POSTED}
    return {"model": model, "messages": prompt_to_chatml(prompt.strip()), "top_p": 1.0, **posted}


def _choice(answer: Answer) -> dict[str, Any]:
    """The first choice with its `text`, as the official client finds it: a tool call's arguments go before content.

    Thoughts before the content are left out.
    """
    choice = answer["choices"][0]
    message = choice["message"]
    content = message.get("content")
    text = (without_thoughts(content) or " ") if isinstance(content, str) else content
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
