"""Asks an LLM judge as the official AlpacaEval annotators do.

The official package makes the prompts, draws which answer comes first, reads the judge's answers and undoes the order.
Only the way to the server and back is ours: concurrent, retried, within a limit, every decision stored as it arrives.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from larpo_lib.endpoint import Endpoint
from larpo_lib.evaluation.alpaca_eval.official import official
from larpo_lib.evaluation.alpaca_eval.settings import AlpacaEvalConfig
from larpo_lib.judging.decisions import Answer, Decisions

_LABEL = "alpaca_eval, judging"
_NOT_POSTED = ("client_kwargs", "price_per_token", "requires_chatml")
"""Settings of an annotator for the official client itself."""


@dataclass(frozen=True)
class Pair:
    """An instruction with the reference's answer and the model's."""

    instruction: str
    reference: str
    model: str


@dataclass(frozen=True)
class Judgements:
    """What the judge says of pairs.

    Attributes:
        preferences: a pair: from 1, the reference's answer is better, to 2, the model's is; None: it could not be read,
            or there was none. Equal answers are a draw, 1.5, which nobody is asked about.
        completions: a pair: the first choice of the judge's answer; None where it was not asked.
        too_long: pairs that are too long for the judge.
    """

    preferences: Sequence[float | None]
    completions: Sequence[Mapping[str, Any] | None]
    too_long: int


def judge_pairs(
    config: AlpacaEvalConfig, pairs: Sequence[Pair], store: Decisions, endpoint: Endpoint[Answer]
) -> Judgements:
    """The judge's preference on each pair, in their order.

    Args:
        config: the judge and its protocol.
        pairs: of distinct instructions.
        store: keeps decisions, and has those of earlier tries.
        endpoint: the judge's.

    Raises:
        ConfigError: the official package is not installed, or more decisions are needed than allowed.
        EndpointError: a request failed for good. The decisions before it are stored.
    """
    asking = _Asking(config.judge.model, store, endpoint)
    with official("annotators") as annotators:
        annotator = annotators.PairwiseAnnotator(annotators_config=config.protocol, caching_path=None)
        single = annotator.annotators[config.protocol]
        single.fn_completions = asking
        rows = annotator.annotate_pairs(
            [{"instruction": p.instruction, "output_1": p.reference, "output_2": p.model} for p in pairs],
            chunksize=None,  # all at once, so that the limit is known to hold before anything is bought
        )
    found = {row["instruction"]: row for row in rows}
    by_pair = [found[pair.instruction] for pair in pairs]
    return Judgements(
        preferences=[_preference(row["preference"]) for row in by_pair],
        completions=[_completion(row.get("preference_raw_completion")) for row in by_pair],
        too_long=asking.too_long,
    )


class _Asking:
    """Takes the place of the official client's function that posts prompts and returns what was answered."""

    def __init__(self, model: str, store: Decisions, endpoint: Endpoint[Answer]) -> None:
        self._model, self._store, self._endpoint = model, store, endpoint
        self.too_long = 0

    def __call__(self, prompts: Sequence[str], model_name: str, **settings: Any) -> dict[str, list[Any]]:
        requests = [_request(prompt, self._model, settings) for prompt in prompts]
        answers = self._store.ask(self._endpoint, requests, label=_LABEL)
        self.too_long += answers.count(None)
        choices = [{"text": ""} if answer is None else _choice(answer) for answer in answers]
        return {"completions": [choice["text"] for choice in choices], "completions_all": choices}


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
