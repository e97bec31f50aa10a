"""Tokens that a judge might have written, with their probabilities, as servers tell them."""

import math
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

SPACE = re.compile(r"[\s\u0120\u2581\u010a]+")
"""White space, also as tokenizers' vocabularies write it. Where a text has some, a server's tokens may have none."""
LEAST = 0.5
"""The probability that names have together where the judge names one of them."""


def names_once(completion: Any, names: Collection[str]) -> Any | None:
    """The one token of a completion, with each name once among the tokens that it might have been.

    Servers that decode ids one by one may give a name several times, with and without the white space before it, and
    each has a part of its probability. White space counts only where the names without it are not probable: elsewhere
    all is as in the official annotations, which leave such tokens out.

    Args:
        completion: a first choice with log-probabilities.
        names: one of which the judge is to write.

    Returns:
        None where the names together have a probability below `LEAST`: the judge then says something else. A completion
        in another form is returned as it is.
    """
    try:
        (token,) = completion["logprobs"]["content"]
        likely = {(str(one["token"]), float(one["logprob"])) for one in token["top_logprobs"]}  # one given twice is one
    except (KeyError, TypeError, ValueError):
        return completion
    for name_of in (str, _without_space):
        found = _by_name(likely, names, name_of)
        if math.fsum(math.exp(min(value, 0.0)) for values in found.values() for value in values) >= LEAST:
            once = [{"token": name, "logprob": float(np.logaddexp.reduce(values))} for name, values in found.items()]
            return {**completion, "logprobs": {"content": [{**token, "top_logprobs": once}]}}
    return None


def _without_space(text: str) -> str:
    return SPACE.sub("", text)


def _by_name(
    likely: Collection[tuple[str, float]], names: Collection[str], name_of: Callable[[str], str]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for text, logprob in sorted(likely):
        if (name := name_of(text)) in names:
            found.setdefault(name, []).append(logprob)
    return found
