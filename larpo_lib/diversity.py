"""How much the responses of a prompt differ from one another, row by row. Pure.

A policy that is sampled too cold says one thing k times, and a list of equal responses teaches nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from larpo_lib.scripts import WORD

DIVERSITY_COLUMNS = ("prompt_id", "temperature", "response")
"""What `Diversity` reads of a row."""

_N = 2
_AT = "duplicate_share_t"
_WORD = re.compile(rf"{WORD}|[^\w\s]")  # signs too: they are half of arithmetic


@dataclass(frozen=True)
class _Tally:
    """Counts over groups of responses; a group is one prompt's at one temperature. Whole numbers add up exactly."""

    compared: int = 0
    repeated: int = 0
    distinct: int = 0
    ngrams: int = 0

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    @property
    def duplicate_share(self) -> float | None:
        return self.repeated / self.compared if self.compared else None

    @property
    def distinct_n(self) -> float | None:
        return self.distinct / self.ngrams if self.ngrams else None


class Diversity:
    """Adds up the diversity of responses, in memory for one prompt's responses.

    Two measures, both within the responses of one prompt at one temperature. The share of responses that repeat another
    one's text: of a, a, b two do, so it is 2/3, and it reaches 1 where all are alike, whatever their number. And the
    share of different ones among the n-grams of their words and signs, those of all prompts added up: Li et al. 2016
    (arXiv 1510.03055), who divide by the number of words. Words and not tokens, because every sampler gives text and
    tokens depend on the tokenizer.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._tallies: dict[float | None, _Tally] = {}
        self._prompt: str | None = None
        self._open: dict[float | None, list[str]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of candidates; the rows of a prompt must come one after another, and into one accumulator."""
        if row["prompt_id"] != self._prompt:
            self._tallies, self._open, self._prompt = self._closed(), {}, row["prompt_id"]
        self._open.setdefault(row["temperature"], []).append(row["response"])

    def merge(self, other: Diversity) -> None:
        """Add what another accumulator has seen of other prompts."""
        self._tallies, self._open, self._prompt = self._closed(), {}, None
        for temperature, tally in other._closed().items():
            self._tallies[temperature] = self._tallies.get(temperature, _Tally()) + tally

    def metrics(self) -> dict[str, float | None]:
        """`duplicate_share` and `distinct_2` over all responses, and with `_t0.8` behind at temperature 0.8, and so on.

        None: no prompt has two responses to compare, or no response has two words. Responses of unknown temperature
        count in the whole only.
        """
        tallies = self._closed()
        whole = sum(tallies.values(), _Tally())
        found = {"duplicate_share": whole.duplicate_share, f"distinct_{_N}": whole.distinct_n}
        for temperature in sorted(value for value in tallies if value is not None):
            found[f"{_AT}{temperature}"] = tallies[temperature].duplicate_share
            found[f"distinct_{_N}_t{temperature}"] = tallies[temperature].distinct_n
        return found

    def _closed(self) -> dict[float | None, _Tally]:
        """The tallies with those of the prompt whose rows are still coming."""
        tallies = dict(self._tallies)
        for temperature, texts in self._open.items():
            tallies[temperature] = tallies.get(temperature, _Tally()) + _tally(texts)
        return tallies


def duplicates_above(metrics: Mapping[str, float | None], share: float) -> list[tuple[float, float]]:
    """The temperatures whose duplicate share in `metrics` exceeds `share`, rising, each with its duplicate share."""
    known = ((float(name.removeprefix(_AT)), value) for name, value in metrics.items() if name.startswith(_AT))
    return sorted((temperature, value) for temperature, value in known if value is not None and value > share)


def repeated(responses: Sequence[Hashable]) -> int:
    """How many of the responses have an equal among the others."""
    return sum(times for times in Counter(responses).values() if times > 1)


def ngram_counts(sequences: Sequence[Sequence[Hashable]], n: int) -> tuple[int, int]:
    """How many different n-grams a set of sequences has, and how many in all; none spans two sequences."""
    found = [tuple(one[i : i + n]) for one in sequences for i in range(len(one) - n + 1)]
    return len(set(found)), len(found)


def _tally(texts: list[str]) -> _Tally:
    distinct, ngrams = ngram_counts([_WORD.findall(text) for text in texts], _N)
    return _Tally(len(texts) if len(texts) > 1 else 0, repeated(texts), distinct, ngrams)
