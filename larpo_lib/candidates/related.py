"""Related texts: those that share words (BM25), or with embeddings of a small angle; and prompts by that.

Scores are worked out for some texts at a time. So whoever asks for the neighbours of one prompt after another, in their
order, has every score worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from larpo_lib.candidates.similarity import Embed, bm25_index, by_embedding, rows_at_once

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Ranking = Callable[[int], Iterator[int]]
"""From the place of a text to those of others by falling score, equal ones by place."""

Relate = Callable[[Sequence[str]], Ranking]
"""From texts to how they are related."""

Neighbours = Callable[[str], Iterator[str]]
"""From a prompt_id to other prompt_ids, the preferred ones first."""

_SCORED = 1 << 16  # word by word, of one text: 0.5 ms
_COMPARED = 100


def neighbours(prompt_ids: Sequence[str], texts: Mapping[str, str], relate: Relate) -> Neighbours:
    """Other prompts by falling score of their texts; equal ones by place in `prompt_ids`. Those not found are left out.

    Args:
        prompt_ids: the prompts.
        texts: the text of each.
        relate: finds related texts.
    """
    ranking = relate([texts[prompt_id] for prompt_id in prompt_ids])
    places = {prompt_id: place for place, prompt_id in enumerate(prompt_ids)}
    return lambda prompt_id: (prompt_ids[place] for place in ranking(places[prompt_id]))


def by_angle(texts: Sequence[str], embed: Embed) -> Ranking:
    """All others by the cosine of their embeddings to five decimals; each is compared with each."""
    scores, rows = by_embedding(texts, texts, embed), rows_at_once(len(texts))
    start, chunk = 0, scores(0, min(rows, len(texts)))

    def ranking(place: int) -> Iterator[int]:
        nonlocal start, chunk
        if not start <= place < start + rows:
            start = place // rows * rows
            chunk = scores(start, min(start + rows, len(texts)))
        cosines = chunk[place - start].copy()
        cosines[place] = -np.inf
        return _falling(np.arange(len(texts), dtype=np.int32), cosines)

    return ranking


def by_shared_words(texts: Sequence[str]) -> Ranking:
    """Those that share a word by Lucene's BM25, as `SharedWords` has it."""
    return SharedWords(texts).ranking


class SharedWords:
    """Texts by the words they share with one of them: Lucene's BM25 (Kamphuis et al. 2020).

    A text is compared by all its words as long as no more than 65,536 texts hold one of them, each text counted for
    each of its words: always where there are one or two thousand texts. Otherwise the rarest words within that limit
    say which 100 others are compared by all words; the rest follows by the rare words alone. So the time for a text
    does not grow with the number of texts.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._weights: Any
        tokens, self._weights = bm25_index(texts)
        self._ends = np.cumsum([0, *map(len, tokens.ids)])
        self._words = np.fromiter((word for ids in tokens.ids for word in ids), np.int32, int(self._ends[-1]))
        self._limited = np.zeros(len(texts), dtype=bool)
        self._rows = rows_at_once(min(len(texts), _SCORED))
        self._start = 0
        self._found: Any = None if self._weights is None else self._scores(0)

    @property
    def limited(self) -> int:
        """How many of the texts asked for so far were not compared with all others by all their words."""
        return int(self._limited.sum())

    def ranking(self, place: int) -> Iterator[int]:
        """The others that share a word."""
        if self._weights is None:
            return
        if not self._start <= place < self._start + self._rows:
            self._start = place // self._rows * self._rows
            self._found = self._scores(self._start)
        first, last = self._found.indptr[place - self._start :][:2]
        others, scores = self._found.indices[first:last], self._found.data[first:last].copy()
        scores[(others == place) | (scores <= 0)] = -np.inf
        if self._limited[place]:
            most = min(_COMPARED, len(scores))
            best = np.argpartition(scores, len(scores) - most)[len(scores) - most :] if most else np.empty(0, np.int64)
            compared = self._enough(place, others[best][scores[best] > -np.inf])
            yield from _falling(compared, self._whole_scores(place, compared))
            scores[best] = -np.inf
        yield from _falling(others, scores)

    def _ids(self, place: int) -> NDArray[np.int32]:
        """The words of a text, in its order."""
        return self._words[self._ends[place] : self._ends[place + 1]]

    def _scores(self, start: int) -> csr_array:
        """Scores of some texts by the words that are within the limit, (texts, all texts)."""
        from scipy.sparse import csr_array

        stop = min(start + self._rows, len(self._limited))
        kept = [self._kept(place) for place in range(start, stop)]
        ends = np.cumsum([0, *map(len, kept)])
        words = np.concatenate(kept)
        ones = np.ones(len(words), np.float32)
        return csr_array((ones, words, ends), shape=(stop - start, self._weights.shape[0])) @ self._weights

    def _kept(self, place: int) -> NDArray[np.int32]:
        ids = self._ids(place)
        words = self._rarest_first(ids)
        within = np.cumsum(self._holding(words)) <= _SCORED
        self._limited[place] = not within.all()
        return ids[np.isin(ids, words[within])] if self._limited[place] else ids

    def _rarest_first(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        words = np.unique(ids)
        return words[np.argsort(self._holding(words), kind="stable")]

    def _holding(self, words: NDArray[np.int32]) -> NDArray[np.int64]:
        """How many texts hold each word."""
        numbers: NDArray[np.int64] = (self._weights.indptr[words + 1] - self._weights.indptr[words]).astype(np.int64)
        return numbers

    def _enough(self, place: int, compared: NDArray[np.int32]) -> NDArray[np.int32]:
        """At least 100 to compare: where rare words find fewer, also the next ones that hold the rarest other word."""
        if len(compared) >= _COMPARED:
            return compared
        words = self._rarest_first(self._ids(place))
        word = words[np.searchsorted(np.cumsum(self._holding(words)), _SCORED, side="right")]
        holders = self._weights.indices[self._weights.indptr[word] : self._weights.indptr[word + 1]]
        next_ones = np.searchsorted(holders, place, side="right") + np.arange(_COMPARED)
        more: NDArray[np.int32] = np.union1d(compared, np.take(holders, next_ones, mode="wrap"))
        others: NDArray[np.int32] = more[more != place]
        return others

    def _whole_scores(self, place: int, others: NDArray[np.int32]) -> NDArray[np.float32]:
        words, times = np.unique(self._ids(place), return_counts=True)
        asked = np.zeros(self._weights.shape[0], np.float32)
        asked[words] = times
        scores: NDArray[np.float32] = self._by_text[others] @ asked
        return scores

    @cached_property
    def _by_text(self) -> csr_array:
        return self._weights.T.tocsr()


def _falling(places: NDArray[np.int32], scores: NDArray[np.float32]) -> Iterator[int]:
    """The places by falling score, the first of equals first, without those of minus infinity. Changes `scores`."""
    while len(scores) and (best := scores.max()) > -np.inf:
        equal = np.flatnonzero(scores == best)
        first = equal[places[equal].argmin()]
        yield int(places[first])
        scores[first] = -np.inf
